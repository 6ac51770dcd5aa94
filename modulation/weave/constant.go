package weave

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// evaluate computes a node whose inputs are all constants, if it is one of the small operators that
// exporters put before weights, and makes its output a weight.
func (d *draft) evaluate(n *onnx.NodeProto) {
	if len(n.GetInput()) == 0 || len(n.GetOutput()) != 1 {
		return
	}
	for _, in := range n.GetInput() {
		if d.weights[in] == nil {
			return
		}
	}
	t := d.compute(n)
	if t == nil {
		return
	}
	t.Name = new(out(n))
	d.remove(n)
	d.weights[out(n)] = t
}

// compute is the node's value, nil where it is not one that this package computes. Values are
// float32 and rounded once, as engines round them.
func (d *draft) compute(n *onnx.NodeProto) *onnx.TensorProto {
	if is(n, "Unsqueeze", "Squeeze", "Reshape", "Flatten") {
		shape, ok := d.shapes[out(n)]
		if !ok {
			return nil
		}
		t := onnx.Shallow(d.weights[n.In(0)])
		t.Dims = shape
		return t
	}
	if is(n, "Cast") && n.Int("to", 0) == int64(onnx.TensorProto_FLOAT) {
		return toFloat(d.weights[n.In(0)])
	}
	a := d.floats(n.In(0))
	if a == nil {
		return nil
	}
	dims := d.weights[n.In(0)].GetDims()
	if f := unary(n); f != nil {
		return onnx.NewFloats("", dims, each(a, f))
	}
	if is(n, "Add", "Sub", "Mul", "Div") && len(n.GetInput()) == 2 {
		return pairwise(n.GetOpType(), d.weights[n.In(0)], d.weights[n.In(1)])
	}
	return nil
}

func unary(n *onnx.NodeProto) func(float32) float32 {
	switch {
	case len(n.GetInput()) != 1:
		return nil
	case is(n, "Relu"):
		return func(v float32) float32 { return max(v, 0) }
	case is(n, "Neg"):
		return func(v float32) float32 { return -v }
	case is(n, "Sqrt"):
		return func(v float32) float32 { return float32(math.Sqrt(float64(v))) }
	case is(n, "Reciprocal"):
		return func(v float32) float32 { return 1 / v }
	}
	return nil
}

func each(x []float32, f func(float32) float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = f(v)
	}
	return y
}

// pairwise computes an operator on two constants of which one has the other's shape or one element.
func pairwise(op string, x, y *onnx.TensorProto) *onnx.TensorProto {
	a, err := x.Floats()
	b, err2 := y.Floats()
	if err != nil || err2 != nil {
		return nil
	}
	dims := x.GetDims()
	switch {
	case slices.Equal(x.GetDims(), y.GetDims()):
	case len(b) == 1 && len(y.GetDims()) <= len(x.GetDims()):
		b = slices.Repeat(b, len(a))
	case len(a) == 1 && len(x.GetDims()) <= len(y.GetDims()):
		a, dims = slices.Repeat(a, len(b)), y.GetDims()
	default:
		return nil
	}
	f := map[string]func(a, b float32) float32{
		"Add": func(a, b float32) float32 { return a + b }, "Sub": func(a, b float32) float32 { return a - b },
		"Mul": func(a, b float32) float32 { return a * b }, "Div": func(a, b float32) float32 { return a / b },
	}[op]
	v := make([]float32, len(a))
	for i := range v {
		v[i] = f(a[i], b[i])
	}
	return onnx.NewFloats("", dims, v)
}

// toFloat is a constant as float32; nil for types that no exporter casts from.
func toFloat(t *onnx.TensorProto) *onnx.TensorProto {
	switch onnx.DataTypeOf(t) {
	case onnx.TensorProto_FLOAT:
		return onnx.Shallow(t)
	case onnx.TensorProto_DOUBLE:
		b, err := t.Bytes()
		if err != nil {
			return nil
		}
		v := make([]float32, len(b)/8)
		for i := range v {
			v[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:])))
		}
		return onnx.NewFloats("", t.GetDims(), v)
	case onnx.TensorProto_INT64, onnx.TensorProto_INT32:
		n, err := t.Ints()
		if err != nil {
			return nil
		}
		v := make([]float32, len(n))
		for i := range v {
			v[i] = float32(n[i])
		}
		return onnx.NewFloats("", t.GetDims(), v)
	}
	return nil
}
