package weave

import (
	"slices"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// layer is a node that sums over channels with constant weights: Conv, Gemm, or MatMul with a matrix.
type layer struct {
	d       *draft
	n       *onnx.NodeProto
	groups  int
	outputs int // of all groups
	inputs  int // of one group
	inner   int // weights from one input to one output
	across  bool
	w, b    []float32 // b is nil when there is none
	exact   bool      // padding adds no zeros: what constant inputs contribute is the same everywhere
}

// layer reads the node as a layer; ok is false for other nodes, and for weights that are not constant
// float32. The slices are the layer's own.
func (d *draft) layer(n *onnx.NodeProto) (l *layer, ok bool) {
	if n == nil || d.weights[n.In(0)] != nil {
		return nil, false
	}
	l = &layer{d: d, n: n, groups: 1, inner: 1, exact: true}
	if is(n, "Conv", "Gemm", "MatMul") {
		l.w = d.floats(n.In(1))
	}
	if len(l.w) == 0 {
		return nil, false
	}
	if dims := d.weights[n.In(1)].GetDims(); is(n, "Conv") {
		ok = l.conv(dims)
	} else {
		ok = l.matrix(dims)
	}
	if !ok || len(l.w) != l.outputs*l.inputs*l.inner || l.outputs%l.groups != 0 {
		return nil, false
	}
	return l, l.readBias()
}

func (l *layer) conv(dims []int64) bool {
	l.groups = int(l.n.Int("group", 1))
	if len(dims) < 3 || l.groups < 1 || len(l.w) == 0 {
		return false
	}
	l.outputs, l.inputs = int(dims[0]), int(dims[1])
	l.inner = len(l.w) / (l.outputs * l.inputs)
	pad := string(l.n.Attr("auto_pad").GetS())
	l.exact = (pad == "" || pad == "NOTSET" || pad == "VALID") && !slices.ContainsFunc(l.n.Ints("pads"), func(p int64) bool { return p != 0 })
	return true
}

func (l *layer) matrix(dims []int64) bool {
	x := l.d.shapes[l.n.In(0)]
	if len(dims) != 2 || len(x) != 2 || !is(l.n, "Gemm", "MatMul") {
		return false
	}
	l.outputs, l.inputs, l.across = int(dims[1]), int(dims[0]), true
	if is(l.n, "Gemm") {
		one := func(name string) bool { a := l.n.Attr(name); return a == nil || a.GetF() == 1 }
		if l.n.Int("transA", 0) != 0 || !one("alpha") || !one("beta") {
			return false
		}
		if l.n.Int("transB", 0) != 0 {
			l.outputs, l.inputs, l.across = l.inputs, l.outputs, false
		}
	}
	return true
}

func (l *layer) readBias() bool {
	if l.n.In(2) == "" {
		return true
	}
	b := l.d.floats(l.n.In(2))
	switch len(b) {
	case l.outputs:
		l.b = b
	case 1:
		l.b = slices.Repeat(b, l.outputs)
	default:
		return false
	}
	return true
}

// at is the index of the first of the inner weights from an input of the output's group.
func (l *layer) at(output, input int) int {
	if l.across {
		return input*l.outputs + output
	}
	return (output*l.inputs + input) * l.inner
}

// channel is the input channel that is the i-th of an output's group.
func (l *layer) channel(output, i int) int { return output/(l.outputs/l.groups)*l.inputs + i }

// channels is the number of input channels of all groups.
func (l *layer) channels() int { return l.groups * l.inputs }

// scaleInputs makes the layer compute from x what it computed from s·x.
func (l *layer) scaleInputs(s []float64) {
	for o := range l.outputs {
		for i := range l.inputs {
			at := l.at(o, i)
			scale(l.w[at:at+l.inner], s[l.channel(o, i)])
		}
	}
}

// scaleOutputs makes the layer yield a·y + b instead of y; b may be nil.
func (l *layer) scaleOutputs(a, b []float64) {
	for o := range l.outputs {
		for i := range l.inputs {
			at := l.at(o, i)
			scale(l.w[at:at+l.inner], a[o])
		}
	}
	if l.b == nil && b == nil {
		return
	}
	if l.b == nil {
		l.b = make([]float32, l.outputs)
	}
	for o := range l.b {
		v := float64(l.b[o]) * a[o]
		if b != nil {
			v += b[o]
		}
		l.b[o] = float32(v)
	}
}

func scale(w []float32, s float64) {
	for i, v := range w {
		w[i] = float32(float64(v) * s)
	}
}

// save gives the node its changed weights, under new names: other nodes may share the old ones.
func (l *layer) save() { l.saveAs(l.d.weights[l.n.In(1)].GetDims()) }

func (l *layer) saveAs(dims []int64) {
	d, n := l.d, l.n
	d.feed(n, 1, d.store(base(out(n))+"/weight", dims, l.w))
	if l.b == nil {
		return
	}
	if is(n, "MatMul") { // which has no bias
		n.OpType = new("Gemm")
	}
	name := d.store(base(out(n))+"/bias", []int64{int64(len(l.b))}, l.b)
	if len(n.GetInput()) < 3 {
		n.Input = append(n.Input, "")
	}
	d.feed(n, 2, name)
}

// spatial is the number of positions that a tensor has a channel, 0 where its shape is not known.
func spatial(s graph.Shape) int {
	if len(s) < 2 {
		return 0
	}
	n, ok := s[2:].Elements()
	if !ok {
		return 0
	}
	return int(n)
}
