package dnnl

// #include "shim.h"
import "C"

import "unsafe"

// Window is how a convolution or pooling moves over height and width.
type Window struct {
	Kernel, Stride [2]int
	Before, After  [2]int // padding above and left, below and right
}

func pair(v [2]int) [2]C.dnnl_dim_t { return [2]C.dnnl_dim_t{C.dnnl_dim_t(v[0]), C.dnnl_dim_t(v[1])} }

// optional is nil for the zero Desc.
func optional(d *Desc) *C.dnnl_memory_desc_t {
	if d.md.ndims == 0 {
		return nil
	}
	return &d.md
}

// ConvForward computes dst [N,O,H',W'] of src [N,C,H,W] and weights [O,C,h,w], or [G,O/G,C/G,h,w]
// for G groups. A zero bias Desc means none.
func (e *Engine) ConvForward(w Window, src, weights, bias, dst Desc) (*Kernel, error) {
	var d C.dnnl_convolution_desc_t
	stride, dilate, before, after := pair(w.Stride), pair([2]int{}), pair(w.Before), pair(w.After)
	s := C.dnnl_dilated_convolution_forward_desc_init(&d, C.dnnl_forward_training, C.dnnl_convolution_direct,
		&src.md, &weights.md, optional(&bias), &dst.md, &stride[0], &dilate[0], &before[0], &after[0])
	if err := status("describe convolution", s); err != nil {
		return nil, err
	}
	return e.compile("convolution", unsafe.Pointer(&d), nil)
}

// ConvBackwardData computes the gradient of a convolution's source.
func (e *Engine) ConvBackwardData(w Window, diffSrc, weights, diffDst Desc, forward *Kernel) (*Kernel, error) {
	var d C.dnnl_convolution_desc_t
	stride, dilate, before, after := pair(w.Stride), pair([2]int{}), pair(w.Before), pair(w.After)
	s := C.dnnl_dilated_convolution_backward_data_desc_init(&d, C.dnnl_convolution_direct,
		&diffSrc.md, &weights.md, &diffDst.md, &stride[0], &dilate[0], &before[0], &after[0])
	if err := status("describe convolution's backward", s); err != nil {
		return nil, err
	}
	return e.compile("convolution backward data", unsafe.Pointer(&d), forward)
}

// ConvBackwardWeights computes the gradients of a convolution's weights and, if given, bias.
func (e *Engine) ConvBackwardWeights(w Window, src, diffWeights, diffBias, diffDst Desc, forward *Kernel) (*Kernel, error) {
	var d C.dnnl_convolution_desc_t
	stride, dilate, before, after := pair(w.Stride), pair([2]int{}), pair(w.Before), pair(w.After)
	s := C.dnnl_dilated_convolution_backward_weights_desc_init(&d, C.dnnl_convolution_direct,
		&src.md, &diffWeights.md, optional(&diffBias), &diffDst.md, &stride[0], &dilate[0], &before[0], &after[0])
	if err := status("describe convolution's backward", s); err != nil {
		return nil, err
	}
	return e.compile("convolution backward weights", unsafe.Pointer(&d), forward)
}

// DenseForward computes dst [N,O] of src [N,C,H,W] and weights [O,C,H,W].
func (e *Engine) DenseForward(src, weights, bias, dst Desc) (*Kernel, error) {
	var d C.dnnl_inner_product_desc_t
	s := C.dnnl_inner_product_forward_desc_init(&d, C.dnnl_forward_training, &src.md, &weights.md, optional(&bias), &dst.md)
	if err := status("describe inner product", s); err != nil {
		return nil, err
	}
	return e.compile("inner product", unsafe.Pointer(&d), nil)
}

// DenseBackwardData computes the gradient of an inner product's source.
func (e *Engine) DenseBackwardData(diffSrc, weights, diffDst Desc, forward *Kernel) (*Kernel, error) {
	var d C.dnnl_inner_product_desc_t
	s := C.dnnl_inner_product_backward_data_desc_init(&d, &diffSrc.md, &weights.md, &diffDst.md)
	if err := status("describe inner product's backward", s); err != nil {
		return nil, err
	}
	return e.compile("inner product backward data", unsafe.Pointer(&d), forward)
}

// DenseBackwardWeights computes the gradients of an inner product's weights and, if given, bias.
func (e *Engine) DenseBackwardWeights(src, diffWeights, diffBias, diffDst Desc, forward *Kernel) (*Kernel, error) {
	var d C.dnnl_inner_product_desc_t
	s := C.dnnl_inner_product_backward_weights_desc_init(&d, &src.md, &diffWeights.md, optional(&diffBias), &diffDst.md)
	if err := status("describe inner product's backward", s); err != nil {
		return nil, err
	}
	return e.compile("inner product backward weights", unsafe.Pointer(&d), forward)
}

// Norm is a batch normalisation: dst = (src − mean)/√(variance + Eps) · gain + shift per channel.
type Norm struct {
	Eps   float64
	Given bool // mean and variance are inputs; otherwise they are computed over the batch and are outputs
	Gain  bool
	Shift bool
	ReLU  bool // follow up with max(0, ·), remembered in the workspace
}

func (n Norm) flags() C.uint {
	var f C.uint
	for flag, on := range map[C.uint]bool{
		C.dnnl_use_global_stats: n.Given, C.dnnl_use_scale: n.Gain, C.dnnl_use_shift: n.Shift, C.dnnl_fuse_norm_relu: n.ReLU,
	} {
		if on {
			f |= flag
		}
	}
	return f
}

// NormForward normalises data [N,C,H,W]; source and destination have the one layout.
func (e *Engine) NormForward(n Norm, data Desc) (*Kernel, error) {
	var d C.dnnl_batch_normalization_desc_t
	s := C.dnnl_batch_normalization_forward_desc_init(&d, C.dnnl_forward_training, &data.md, C.float(n.Eps), n.flags())
	if err := status("describe batch normalisation", s); err != nil {
		return nil, err
	}
	return e.compile("batch normalisation", unsafe.Pointer(&d), nil)
}

// NormBackward computes the gradients of a normalisation's source, gain and shift.
func (e *Engine) NormBackward(n Norm, data Desc, forward *Kernel) (*Kernel, error) {
	var d C.dnnl_batch_normalization_desc_t
	s := C.dnnl_batch_normalization_backward_desc_init(&d, C.dnnl_backward, &data.md, &data.md, C.float(n.Eps), n.flags())
	if err := status("describe batch normalisation's backward", s); err != nil {
		return nil, err
	}
	return e.compile("batch normalisation backward", unsafe.Pointer(&d), forward)
}

// Pooling is the rule by which a window becomes one value.
type Pooling C.dnnl_alg_kind_t

// The poolings; MeanInside leaves padding out of the count.
const (
	Max         Pooling = C.dnnl_pooling_max
	MeanInside  Pooling = C.dnnl_pooling_avg_exclude_padding
	MeanPadding Pooling = C.dnnl_pooling_avg_include_padding
)

// PoolForward pools src [N,C,H,W].
func (e *Engine) PoolForward(kind Pooling, w Window, src, dst Desc) (*Kernel, error) {
	var d C.dnnl_pooling_desc_t
	stride, kernel, before, after := pair(w.Stride), pair(w.Kernel), pair(w.Before), pair(w.After)
	s := C.dnnl_pooling_forward_desc_init(&d, C.dnnl_forward_training, C.dnnl_alg_kind_t(kind), &src.md, &dst.md,
		&stride[0], &kernel[0], &before[0], &after[0])
	if err := status("describe pooling", s); err != nil {
		return nil, err
	}
	return e.compile("pooling", unsafe.Pointer(&d), nil)
}

// PoolBackward computes the gradient of a pooling's source.
func (e *Engine) PoolBackward(kind Pooling, w Window, diffSrc, diffDst Desc, forward *Kernel) (*Kernel, error) {
	var d C.dnnl_pooling_desc_t
	stride, kernel, before, after := pair(w.Stride), pair(w.Kernel), pair(w.Before), pair(w.After)
	s := C.dnnl_pooling_backward_desc_init(&d, C.dnnl_alg_kind_t(kind), &diffSrc.md, &diffDst.md,
		&stride[0], &kernel[0], &before[0], &after[0])
	if err := status("describe pooling's backward", s); err != nil {
		return nil, err
	}
	return e.compile("pooling backward", unsafe.Pointer(&d), forward)
}

// rectifier is min(top, max(0, x)) by its output's value, so that it may work in place; top 0 means no top.
func rectifier(top float64) (C.dnnl_alg_kind_t, C.float, C.float) {
	if top == 0 {
		return C.dnnl_eltwise_relu_use_dst_for_bwd, 0, 0
	}
	return C.dnnl_eltwise_clip_v2_use_dst_for_bwd, 0, C.float(top)
}

// ReLUForward computes min(top, max(0, src)); top 0 means no top. It may work in place.
func (e *Engine) ReLUForward(top float64, data Desc) (*Kernel, error) {
	var d C.dnnl_eltwise_desc_t
	alg, alpha, beta := rectifier(top)
	s := C.dnnl_eltwise_forward_desc_init(&d, C.dnnl_forward_training, alg, &data.md, alpha, beta)
	if err := status("describe ReLU", s); err != nil {
		return nil, err
	}
	return e.compile("ReLU", unsafe.Pointer(&d), nil)
}

// ReLUBackward computes the gradient of a ReLU's source from its output. It may work in place.
func (e *Engine) ReLUBackward(top float64, data Desc, forward *Kernel) (*Kernel, error) {
	var d C.dnnl_eltwise_desc_t
	alg, alpha, beta := rectifier(top)
	s := C.dnnl_eltwise_backward_desc_init(&d, alg, &data.md, &data.md, alpha, beta)
	if err := status("describe ReLU's backward", s); err != nil {
		return nil, err
	}
	return e.compile("ReLU backward", unsafe.Pointer(&d), forward)
}

// Add computes dst = src + src1, all of the one layout; dst may be src.
func (e *Engine) Add(data Desc) (*Kernel, error) {
	var d C.dnnl_binary_desc_t
	s := C.dnnl_binary_desc_init(&d, C.dnnl_binary_add, &data.md, &data.md, &data.md)
	if err := status("describe addition", s); err != nil {
		return nil, err
	}
	return e.compile("addition", unsafe.Pointer(&d), nil)
}

// Reorder copies src into dst's layout.
func (e *Engine) Reorder(src, dst Desc) (*Kernel, error) {
	attr, err := userScratch()
	if err != nil {
		return nil, err
	}
	defer C.dnnl_primitive_attr_destroy(attr)
	C.facet_threads(C.int(e.threads))
	k := &Kernel{op: "reorder", engine: e}
	s := C.dnnl_reorder_primitive_desc_create(&k.pd, &src.md, e.engine, &dst.md, e.engine, attr)
	if err := status("describe reorder", s); err != nil {
		return nil, err
	}
	return k, e.finish(k)
}
