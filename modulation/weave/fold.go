package weave

import (
	"fmt"
	"slices"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// Folding says what Fold may do.
type Folding struct {
	// Input is the shape of the images; nil takes what the file declares.
	Input graph.Shape
	// Keep are tensors whose values stay as they are, unless they come after another of them: where
	// modulation sits in the trunk, so that tails of other tasks still fit it.
	Keep []string
	// Copies is the largest weight, in elements, that a scale may make a copy of; scales before larger
	// ones stay products of their own, which costs a pass over activations and saves memory for the
	// weights of every task. 0 means any.
	Copies int
}

// Fold moves scales and batch norms of channels into the weights of neighbouring layers: batch norms
// backward, scales forward by preference, so that what stands before a site stays the same for all
// tasks. Scales pass through pooling, flattening and, as they are never negative, ReLU and maxima. A
// product or norm whose neighbours cannot take it in stays. Outputs stay equal up to rounding.
func Fold(m *onnx.ModelProto, opt Folding) (*onnx.ModelProto, error) {
	d, err := newDraft(m, opt.Input)
	if err != nil {
		return nil, fmt.Errorf("fold: %w", err)
	}
	for _, t := range opt.Keep {
		d.keep[t] = true
	}
	d.simplify()
	d.keepFirst()
	f := folder{d, opt.Copies}
	for f.pass() {
	}
	d.share()
	if m, err = d.finish(); err != nil {
		return nil, fmt.Errorf("fold: %w", err)
	}
	return m, nil
}

// keepFirst lets go of tensors that come after others that are kept.
func (d *draft) keepFirst() {
	below := map[string]bool{}
	for _, n := range d.sorted() {
		reads := slices.ContainsFunc(n.GetInput(), func(t string) bool { return below[t] || d.keep[t] })
		for _, t := range n.GetOutput() {
			below[t] = reads
		}
	}
	for t := range d.keep {
		d.keep[t] = d.keep[t] && !below[t]
	}
}

// folder folds; every step removes an affine node or moves one toward the outputs, so that it ends.
type folder struct {
	*draft
	copies int
}

// pass tries every node once and reports whether anything changed.
func (f folder) pass() bool {
	changed := false
	for _, n := range f.live() {
		if f.gone[n] {
			continue
		}
		a, ok := f.affine(n)
		if !ok {
			continue
		}
		scales := a.shift == nil && a.positive()
		changed = scales && f.forward(n, a) || f.backward(n, a) || scales && f.commute(n, a) || changed
	}
	return changed
}

// job is a change to be made once it is known that all of them can be.
type job func()

// forward moves a scale into everything that reads it.
func (f folder) forward(n *onnx.NodeProto, a affine) bool {
	jobs, ok := f.into(out(n), a.scale, nil)
	if !ok {
		return false
	}
	f.reroute(out(n), a.x)
	f.remove(n)
	for _, do := range jobs {
		do()
	}
	return true
}

// into finds how the readers of a tensor can take in its scale s.
func (f folder) into(tensor string, s []float64, jobs []job) ([]job, bool) {
	if f.outputs[tensor] || f.keep[tensor] || len(f.readers[tensor]) == 0 {
		return nil, false
	}
	for _, n := range f.readers[tensor] {
		var ok bool
		if jobs, ok = f.intoNode(n, tensor, s, jobs); !ok {
			return nil, false
		}
	}
	return jobs, true
}

func (f folder) intoNode(n *onnx.NodeProto, tensor string, s []float64, jobs []job) ([]job, bool) {
	if l, ok := f.layer(n); ok && n.In(0) == tensor && l.channels() == len(s) {
		return append(jobs, func() {
			l, _ := f.layer(n)
			l.scaleInputs(s)
			l.save()
		}), f.affordable(l)
	}
	if a, ok := f.affine(n); ok && a.x == tensor {
		return append(jobs, func() {
			a, _ := f.affine(n)
			f.put(n, affine{a.x, times(a.scale, s), a.shift})
		}), true
	}
	if t := f.through(n, s); t != nil {
		return f.into(out(n), t, jobs)
	}
	return nil, false
}

// affordable reports whether the layer's weights are its own, or a copy of them may be made.
func (f folder) affordable(l *layer) bool {
	return f.copies == 0 || len(l.w) <= f.copies || len(f.readers[l.n.In(1)]) == 1
}

func times(a, b []float64) []float64 {
	c := make([]float64, len(a))
	for i := range c {
		c[i] = a[i] * b[i]
	}
	return c
}

// backward moves a scale and shift into everything that the node's input comes from.
func (f folder) backward(n *onnx.NodeProto, a affine) bool {
	jobs, ok := f.from(a.x, n, a, nil)
	if !ok {
		return false
	}
	for _, do := range jobs {
		do()
	}
	f.bypass(n, a.x)
	return true
}

// from finds how what yields a tensor, which reader alone reads, can yield it scaled and shifted.
func (f folder) from(tensor string, reader *onnx.NodeProto, a affine, jobs []job) ([]job, bool) {
	n := f.made[tensor]
	if n == nil || f.sole(tensor) != reader || f.keep[tensor] {
		return nil, false
	}
	if l, ok := f.layer(n); ok && l.outputs == len(a.scale) {
		return append(jobs, func() {
			l, _ := f.layer(n)
			l.scaleOutputs(a.scale, a.shift)
			l.save()
		}), is(reader, "BatchNormalization") || a.shift != nil || f.affordable(l)
	}
	if before, ok := f.affine(n); ok {
		return append(jobs, func() { f.put(n, after(before, a)) }), true
	}
	if is(n, "Add") && n.In(0) != n.In(1) && f.shapes[n.In(0)] != nil && slices.Equal(f.shapes[n.In(0)], f.shapes[n.In(1)]) {
		jobs, ok := f.from(n.In(0), n, a, jobs)
		if !ok {
			return nil, false
		}
		return f.from(n.In(1), n, affine{scale: a.scale}, jobs)
	}
	if s := f.before(n, a); s != nil {
		return f.from(n.In(0), n, affine{scale: s, shift: a.shift}, jobs)
	}
	return nil, false
}

// after is a applied to what before yields.
func after(before, a affine) affine {
	c := affine{x: before.x, scale: times(before.scale, a.scale), shift: a.shift}
	if before.shift != nil {
		c.shift = times(before.shift, a.scale)
		for i := range a.shift {
			c.shift[i] += a.shift[i]
		}
	}
	return c
}

// commute moves a scale behind the one node that reads it, so that tasks share that node.
func (f folder) commute(n *onnx.NodeProto, a affine) bool {
	next := f.sole(out(n))
	if next == nil || f.keep[out(n)] || is(next, "Flatten", "Reshape", "Squeeze", "Unsqueeze") {
		return false
	}
	s := f.through(next, a.scale)
	if s == nil || f.outputs[out(next)] || f.keep[out(next)] {
		return false
	}
	y := out(next)
	scaled := f.fresh(y + "/scaled")
	f.shapes[scaled] = f.shapes[y]
	f.reroute(out(n), a.x)
	f.remove(n)
	f.reroute(y, scaled)
	m := onnx.NewNode("Mul", []string{y, ""}, []string{scaled})
	f.insert(m)
	f.put(m, affine{x: y, scale: s})
	return true
}
