package dnnl

// #include "shim.h"
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"unsafe"
)

// Arg says what a memory is to a kernel.
type Arg int

// The arguments of kernels; Diff… are gradients of the loss with respect to the tensor.
const (
	Src         Arg = C.DNNL_ARG_SRC
	Src1        Arg = C.DNNL_ARG_SRC_1
	Dst         Arg = C.DNNL_ARG_DST
	Weights     Arg = C.DNNL_ARG_WEIGHTS
	Bias        Arg = C.DNNL_ARG_BIAS
	Mean        Arg = C.DNNL_ARG_MEAN
	Variance    Arg = C.DNNL_ARG_VARIANCE
	Gain        Arg = C.DNNL_ARG_SCALE
	Shift       Arg = C.DNNL_ARG_SHIFT
	Workspace   Arg = C.DNNL_ARG_WORKSPACE
	DiffSrc     Arg = C.DNNL_ARG_DIFF_SRC
	DiffDst     Arg = C.DNNL_ARG_DIFF_DST
	DiffWeights Arg = C.DNNL_ARG_DIFF_WEIGHTS
	DiffBias    Arg = C.DNNL_ARG_DIFF_BIAS
	DiffGain    Arg = C.DNNL_ARG_DIFF_SCALE
	DiffShift   Arg = C.DNNL_ARG_DIFF_SHIFT
)

// Kernel is one compiled primitive.
type Kernel struct {
	op        string
	engine    *Engine
	pd        C.dnnl_primitive_desc_t
	primitive C.dnnl_primitive_t
}

// Desc is the layout that the kernel wants for an argument; the zero Desc when it has none such.
func (k *Kernel) Desc(a Arg) Desc {
	md := C.dnnl_primitive_desc_query_md(k.pd, C.dnnl_query_exec_arg_md, C.int(a))
	if md == nil {
		return Desc{}
	}
	return Desc{*md}
}

// compile makes a kernel of an operation's descriptor; hint is the forward kernel of a backward one.
func (e *Engine) compile(op string, desc unsafe.Pointer, hint *Kernel) (*Kernel, error) {
	attr, err := userScratch()
	if err != nil {
		return nil, err
	}
	defer C.dnnl_primitive_attr_destroy(attr)
	var forward C.dnnl_primitive_desc_t
	if hint != nil {
		forward = hint.pd
	}
	C.facet_threads(C.int(e.threads)) // the kernel's blocking depends on it
	k := &Kernel{op: op, engine: e}
	if err := status(op, C.dnnl_primitive_desc_create(&k.pd, C.const_dnnl_op_desc_t(desc), attr, e.engine, forward)); err != nil {
		return nil, err
	}
	return k, e.finish(k)
}

func userScratch() (C.dnnl_primitive_attr_t, error) {
	var attr C.dnnl_primitive_attr_t
	if err := status("create attributes", C.dnnl_primitive_attr_create(&attr)); err != nil {
		return nil, err
	}
	return attr, status("set scratchpad", C.dnnl_primitive_attr_set_scratchpad_mode(attr, C.dnnl_scratchpad_mode_user))
}

// finish compiles the primitive of a kernel whose descriptor stands.
func (e *Engine) finish(k *Kernel) error {
	e.defers(func() { C.dnnl_primitive_desc_destroy(k.pd) })
	if err := status(k.op, C.dnnl_primitive_create(&k.primitive, k.pd)); err != nil {
		return err
	}
	e.defers(func() { C.dnnl_primitive_destroy(k.primitive) })
	e.needed = max(e.needed, k.Desc(C.DNNL_ARG_SCRATCHPAD).Bytes())
	return nil
}

// Args binds memories to a kernel's arguments.
type Args map[Arg]*Memory

// Program is a list of bound kernels that run in one call.
type Program struct {
	engine *Engine
	calls  []C.facet_call
	ops    []string
	bare   []*Kernel // kernels whose scratch space is not bound yet; nil where none is wanted
}

// NewProgram returns an empty program.
func (e *Engine) NewProgram() *Program { return &Program{engine: e} }

// Len is the number of kernels.
func (p *Program) Len() int { return len(p.calls) }

// Append adds a kernel. Every memory must have the layout that the kernel wants.
func (p *Program) Append(k *Kernel, args Args) error {
	n := len(args) + 1 // room for the scratch space
	list := (*C.dnnl_exec_arg_t)(C.calloc(C.size_t(n), C.sizeof_dnnl_exec_arg_t))
	p.engine.defers(func() { C.free(unsafe.Pointer(list)) })
	slots := unsafe.Slice(list, n)
	i := 0
	for a, m := range args {
		if m == nil {
			return fmt.Errorf("dnnl: %s: argument %d is missing", k.op, a)
		}
		if want := k.Desc(a); want.Bytes() != 0 && !want.Equal(m.Desc) {
			return fmt.Errorf("dnnl: %s: argument %d of shape %v has another layout than the kernel wants", k.op, a, m.Dims())
		}
		slots[i] = C.dnnl_exec_arg_t{arg: C.int(a), memory: m.handle}
		i++
	}
	p.calls = append(p.calls, C.facet_call{primitive: k.primitive, args: list, nargs: C.int(len(args))})
	p.ops = append(p.ops, k.op)
	if k.Desc(C.DNNL_ARG_SCRATCHPAD).Bytes() == 0 {
		k = nil
	}
	p.bare = append(p.bare, k)
	return nil
}

// Run executes the kernels in order.
func (p *Program) Run() error {
	if len(p.calls) == 0 {
		return nil
	}
	if err := p.bindScratch(); err != nil {
		return err
	}
	var at C.int
	s := C.facet_run(&p.calls[0], C.int(len(p.calls)), p.engine.stream, C.int(p.engine.threads), &at)
	return status(p.ops[at], s)
}

// bindScratch gives every kernel that wants scratch space the one that they all share.
func (p *Program) bindScratch() error {
	e := p.engine
	for i, k := range p.bare {
		if k == nil {
			continue
		}
		if e.scratch == nil || e.scratch.bytes < e.needed {
			// Programs bound earlier keep the smaller buffer, which was large enough for them.
			b, err := e.Buffer(e.needed)
			if err != nil {
				return err
			}
			e.scratch = b
		}
		m, err := e.Lay(k.Desc(C.DNNL_ARG_SCRATCHPAD), e.scratch)
		if err != nil {
			return err
		}
		c := &p.calls[i]
		slots := unsafe.Slice(c.args, c.nargs+1)
		slots[c.nargs] = C.dnnl_exec_arg_t{arg: C.DNNL_ARG_SCRATCHPAD, memory: m.handle}
		c.nargs++
		p.bare[i] = nil
	}
	return nil
}
