package dnnl

// #include "shim.h"
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"unsafe"
)

// Engine makes kernels and memory and owns them until Close.
type Engine struct {
	engine  C.dnnl_engine_t
	stream  C.dnnl_stream_t
	threads int
	free    []func() // in order of creation
	scratch *Buffer
	needed  int // bytes of scratch space that the largest kernel wants
	held    int // bytes of all buffers
}

// NewEngine returns an engine whose kernels run on the given number of OpenMP threads. Results are
// the same bit for bit in every run with the same number of threads and the same instruction set, and
// only then: with AVX-512 sums are taken in another order than with AVX2. The environment variable
// ONEDNN_MAX_CPU_ISA bounds the set.
//
// With more than one thread, OpenMP keeps a team of workers for each OS thread that calls it, so the
// calling goroutine should be locked to its thread (runtime.LockOSThread).
func NewEngine(threads int) (*Engine, error) {
	if threads < 1 {
		return nil, fmt.Errorf("dnnl: %d threads, want at least 1", threads)
	}
	e := &Engine{threads: threads}
	C.facet_threads(C.int(threads))
	if err := status("create engine", C.dnnl_engine_create(&e.engine, C.dnnl_cpu, 0)); err != nil {
		return nil, err
	}
	e.defers(func() { C.dnnl_engine_destroy(e.engine) })
	s := C.dnnl_stream_create(&e.stream, e.engine, C.dnnl_stream_default_flags)
	if err := status("create stream", s); err != nil {
		e.Close()
		return nil, err
	}
	e.defers(func() { C.dnnl_stream_destroy(e.stream) })
	return e, nil
}

func (e *Engine) defers(f func()) { e.free = append(e.free, f) }

// Close frees everything that the engine made. Memories, kernels and programs are void afterwards.
func (e *Engine) Close() {
	for i := len(e.free) - 1; i >= 0; i-- {
		e.free[i]()
	}
	*e = Engine{}
}

// Threads is the number of OpenMP threads that kernels run on.
func (e *Engine) Threads() int { return e.threads }

// Held is the number of bytes in all buffers of the engine.
func (e *Engine) Held() int { return e.held }

// Buffer is memory that is not yet a tensor.
type Buffer struct {
	data  unsafe.Pointer
	bytes int
}

// Bytes is the buffer's size.
func (b *Buffer) Bytes() int { return b.bytes }

// Buffer allocates zeroed memory.
func (e *Engine) Buffer(bytes int) (*Buffer, error) {
	p := C.facet_alloc(C.size_t(max(bytes, 64)))
	if p == nil {
		return nil, fmt.Errorf("dnnl: no memory for %d bytes", bytes)
	}
	e.held += bytes
	e.defers(func() { C.free(p) })
	return &Buffer{p, bytes}, nil
}

// Memory is a tensor: a Desc laid over a Buffer.
type Memory struct {
	Desc
	engine *Engine
	handle C.dnnl_memory_t
	buffer *Buffer
	offset int // bytes
}

// Alloc returns a zeroed tensor on a buffer of its own.
func (e *Engine) Alloc(d Desc) (*Memory, error) {
	b, err := e.Buffer(d.Bytes())
	if err != nil {
		return nil, err
	}
	return e.Lay(d, b)
}

// Lay views the beginning of a buffer as a tensor.
func (e *Engine) Lay(d Desc, b *Buffer) (*Memory, error) { return e.lay(d, b, 0) }

func (e *Engine) lay(d Desc, b *Buffer, offset int) (*Memory, error) {
	if offset+d.Bytes() > b.bytes {
		return nil, fmt.Errorf("dnnl: tensor %v does not fit into %d bytes", d.Dims(), b.bytes-offset)
	}
	m := &Memory{Desc: d, engine: e, buffer: b, offset: offset}
	at := unsafe.Add(b.data, offset)
	if err := status("create memory", C.dnnl_memory_create(&m.handle, &d.md, e.engine, at)); err != nil {
		return nil, err
	}
	e.defers(func() { C.dnnl_memory_destroy(m.handle) })
	return m, nil
}

// Rows views rows lo…lo+n of the tensor, without copying.
func (m *Memory) Rows(lo, n int) (*Memory, error) {
	if lo == 0 && n == int(m.md.dims[0]) {
		return m, nil
	}
	stride, err := m.rowStride()
	if err != nil {
		return nil, err
	}
	d, err := m.WithRows(n)
	if err != nil {
		return nil, err
	}
	return m.engine.lay(d, m.buffer, m.offset+lo*stride)
}

// As views the memory under another description of no greater size.
func (m *Memory) As(d Desc) (*Memory, error) { return m.engine.lay(d, m.buffer, m.offset) }

// Buffer is the memory that the tensor lies on.
func (m *Memory) Buffer() *Buffer { return m.buffer }

// Floats is the tensor's content in its own layout, padding included. It is valid until the
// engine's Close.
func (m *Memory) Floats() []float32 {
	return unsafe.Slice((*float32)(unsafe.Add(m.buffer.data, m.offset)), m.Bytes()/4)
}

func status(op string, s C.dnnl_status_t) error {
	switch s {
	case C.dnnl_success:
		return nil
	case C.dnnl_out_of_memory:
		return fmt.Errorf("dnnl: %s: out of memory", op)
	case C.dnnl_invalid_arguments:
		return fmt.Errorf("dnnl: %s: invalid arguments", op)
	case C.dnnl_unimplemented:
		return fmt.Errorf("dnnl: %s: not implemented", op)
	}
	return fmt.Errorf("dnnl: %s: status %d", op, int(s))
}
