package weave

import (
	"math"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/onnx"
)

// affine is y = scale·x + shift, one number each a channel (axis 1).
type affine struct {
	x            string
	scale, shift []float64 // shift is nil for none
}

// positive reports whether no channel changes its sign.
func (a affine) positive() bool {
	return !slices.ContainsFunc(a.scale, func(s float64) bool { return !(s >= 0) })
}

// affine reads a node as one: BatchNormalization with running statistics, or a product, quotient, sum
// or difference of a tensor [N, C, …] with a constant a channel.
func (d *draft) affine(n *onnx.NodeProto) (a affine, ok bool) {
	switch {
	case is(n, "BatchNormalization"):
		return d.batchNorm(n)
	case is(n, "Mul", "Add"):
		for i := range 2 {
			if c := d.vector(n.In(1-i), n.In(i)); c != nil {
				return newAffine(n.GetOpType(), n.In(i), c), true
			}
		}
	case is(n, "Div", "Sub"):
		if c := d.vector(n.In(1), n.In(0)); c != nil {
			return newAffine(n.GetOpType(), n.In(0), c), true
		}
	}
	return a, false
}

func newAffine(op, x string, c []float64) affine {
	a := affine{x: x, scale: c}
	switch op {
	case "Div":
		a.scale = apply(c, func(v float64) float64 { return 1 / v })
	case "Add":
		a.scale, a.shift = slices.Repeat([]float64{1}, len(c)), c
	case "Sub":
		a.scale, a.shift = slices.Repeat([]float64{1}, len(c)), apply(c, func(v float64) float64 { return -v })
	}
	return a
}

func apply(x []float64, f func(float64) float64) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = f(v)
	}
	return y
}

func (d *draft) batchNorm(n *onnx.NodeProto) (a affine, ok bool) {
	x := d.shapes[n.In(0)]
	if n.Int("training_mode", 0) != 0 || d.weights[n.In(0)] != nil || len(x) < 2 {
		return a, false
	}
	var p [4][]float32 // gain, shift, mean, variance
	for i := range p {
		if p[i] = d.floats(n.In(i + 1)); p[i] == nil || int64(len(p[i])) != x[1] {
			return a, false
		}
	}
	eps := 1e-5
	if e := n.Attr("epsilon"); e != nil {
		eps = float64(e.GetF())
	}
	a = affine{n.In(0), make([]float64, len(p[0])), make([]float64, len(p[0]))}
	for c := range a.scale {
		a.scale[c] = float64(p[0][c]) / math.Sqrt(float64(p[3][c])+eps)
		a.shift[c] = float64(p[1][c]) - a.scale[c]*float64(p[2][c])
	}
	return a, true
}

// vector reads a constant as one number a channel of tensor x; nil when it is none.
func (d *draft) vector(constant, x string) []float64 {
	shape := d.shapes[x]
	v := d.floats(constant)
	if len(v) == 0 || d.weights[x] != nil || len(shape) < 2 {
		return nil
	}
	dims, channels := d.weights[constant].GetDims(), int(shape[1])
	if len(dims) > len(shape) {
		return nil
	}
	for i, extent := range dims { // aligned at the right
		if axis := len(shape) - len(dims) + i; extent != 1 && (axis != 1 || extent != shape[1]) {
			return nil
		}
	}
	if len(v) != channels { // one number for all channels
		v = slices.Repeat(v[:1], channels)
	}
	c := make([]float64, channels)
	for i := range c {
		c[i] = float64(v[i])
	}
	return c
}

// put replaces the node by one that computes a, under the same output.
func (d *draft) put(n *onnx.NodeProto, a affine) {
	dims := slices.Repeat([]int64{1}, len(d.shapes[a.x]))
	dims[1] = int64(len(a.scale))
	name := base(out(n))
	d.remove(n)
	if a.shift == nil {
		d.insert(onnx.NewNode("Mul", []string{a.x, d.store(name+"/scale", dims, narrow(a.scale))}, []string{out(n)}))
		return
	}
	vector := func(kind string, v []float64) string { return d.store(name+"/"+kind, dims[1:2], narrow(v)) }
	zero := make([]float64, len(a.scale))
	one := slices.Repeat([]float64{1}, len(a.scale))
	d.insert(onnx.NewNode("BatchNormalization", []string{a.x, vector("gain", a.scale), vector("shift", a.shift), vector("mean", zero),
		vector("variance", one)}, []string{out(n)}, onnx.NewFloat("epsilon", 0)))
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}

// base is a tensor's name without what weave has put behind it.
func base(name string) string { return strings.TrimSuffix(name, "/unscaled") }
