package dnnl

// #include "shim.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Desc is the shape of a float32 tensor, outermost dimension first, and its layout in memory.
type Desc struct{ md C.dnnl_memory_desc_t }

// Plain describes a row-major tensor.
func Plain(dims ...int) Desc {
	strides := make([]C.dnnl_dim_t, len(dims))
	step := 1
	for i := len(dims) - 1; i >= 0; i-- {
		strides[i] = C.dnnl_dim_t(step)
		step *= dims[i]
	}
	var d Desc
	cd := cdims(dims)
	C.dnnl_memory_desc_init_by_strides(&d.md, C.int(len(dims)), &cd[0], C.dnnl_f32, &strides[0])
	return d
}

// Any describes a tensor whose layout the kernel is to choose.
func Any(dims ...int) Desc {
	var d Desc
	cd := cdims(dims)
	C.dnnl_memory_desc_init_by_tag(&d.md, C.int(len(dims)), &cd[0], C.dnnl_f32, C.dnnl_format_tag_any)
	return d
}

func cdims(dims []int) []C.dnnl_dim_t {
	c := make([]C.dnnl_dim_t, max(len(dims), 1))
	for i, v := range dims {
		c[i] = C.dnnl_dim_t(v)
	}
	return c
}

// Dims are the tensor's logical dimensions.
func (d Desc) Dims() []int {
	dims := make([]int, d.md.ndims)
	for i := range dims {
		dims[i] = int(d.md.dims[i])
	}
	return dims
}

// Any is a description of the same shape whose layout the kernel is to choose.
func (d Desc) Any() Desc { return Any(d.Dims()...) }

// Plain is a row-major description of the same shape.
func (d Desc) Plain() Desc { return Plain(d.Dims()...) }

// IsPlain reports whether the tensor lies row-major without padding.
func (d Desc) IsPlain() bool { return d.Equal(d.Plain()) }

// Equal reports whether shape and layout are the same.
func (d Desc) Equal(o Desc) bool { return C.dnnl_memory_desc_equal(&d.md, &o.md) != 0 }

// Bytes is the memory that the tensor takes, padding included; 0 for the zero Desc.
func (d Desc) Bytes() int {
	if d.md.ndims == 0 {
		return 0
	}
	return int(C.dnnl_memory_desc_get_size(&d.md))
}

// WithRows is the description of a tensor of the same layout with another number of rows (the
// outermost dimension). It fails for layouts that interleave rows.
func (d Desc) WithRows(n int) (Desc, error) {
	if _, err := d.rowStride(); err != nil {
		return Desc{}, err
	}
	d.md.dims[0], d.md.padded_dims[0] = C.dnnl_dim_t(n), C.dnnl_dim_t(n)
	return d, nil
}

// rowStride is the distance between two rows in bytes.
func (d Desc) rowStride() (int, error) {
	blocking := (*C.dnnl_blocking_desc_t)(unsafe.Pointer(&d.md.format_desc))
	row := 1
	for i := 1; i < int(d.md.ndims); i++ {
		row *= int(d.md.padded_dims[i])
	}
	rows := d.md.dims[0]
	if d.md.format_kind != C.dnnl_blocked || d.md.padded_dims[0] != rows || rows > 1 && int(blocking.strides[0]) != row {
		return 0, fmt.Errorf("dnnl: the layout of %v does not keep rows apart", d.Dims())
	}
	return 4 * row, nil
}

// Reshape gives a plain tensor other dimensions of the same size.
func (d Desc) Reshape(dims ...int) (Desc, error) {
	r := Plain(dims...)
	if !d.IsPlain() || r.Bytes() != d.Bytes() {
		return Desc{}, fmt.Errorf("dnnl: cannot view %v as %v", d.Dims(), dims)
	}
	return r, nil
}
