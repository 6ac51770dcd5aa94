package weave

import (
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// through is the scale of the node's output that a scale of its input, never negative, amounts to; nil
// for a node that does not pass scales on.
func (d *draft) through(n *onnx.NodeProto, s []float64) []float64 {
	x, y := d.shapes[n.In(0)], d.shapes[out(n)]
	if len(x) < 2 || len(y) < 2 || x[0] != y[0] || int(x[1]) != len(s) {
		return nil
	}
	switch {
	case d.homogeneous(n) && x[1] == y[1]:
		return s
	case d.reshapes(n) && len(y) == 2 && int(y[1]) == len(s)*spatial(x): // channels outermost
		t := make([]float64, 0, y[1])
		for _, v := range s {
			t = append(t, slices.Repeat([]float64{v}, spatial(x))...)
		}
		return t
	case d.reshapes(n) && y[1] == x[1]: // only extents of 1 come or go
		return s
	}
	return nil
}

// homogeneous reports whether f(s·x) = s·f(x) holds in every channel for all s ≥ 0.
func (d *draft) homogeneous(n *onnx.NodeProto) bool {
	if len(n.GetOutput()) > 1 && n.GetOutput()[1] != "" {
		return false // indices
	}
	switch {
	case is(n, "Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"):
		return true
	case is(n, "ReduceMean"):
		return d.overPlane(n)
	}
	return false
}

// overPlane reports whether a reduction is over height and width alone.
func (d *draft) overPlane(n *onnx.NodeProto) bool {
	axes := slices.Clone(n.Ints("axes"))
	if t := d.weights[n.In(1)]; t != nil {
		v, err := t.Ints()
		if err != nil {
			return false
		}
		axes = slices.Clone(v)
	} else if n.In(1) != "" {
		return false
	}
	for i, a := range axes {
		if a < 0 {
			axes[i] += int64(len(d.shapes[n.In(0)]))
		}
	}
	slices.Sort(axes)
	return len(d.shapes[n.In(0)]) == 4 && slices.Equal(axes, []int64{2, 3})
}

// reshapes reports whether the node leaves values in their order.
func (d *draft) reshapes(n *onnx.NodeProto) bool {
	return is(n, "Flatten", "Reshape", "Squeeze", "Unsqueeze")
}

// before is the scale of the node's input that a scale and shift of its output amounts to; nil where
// there is none. The shift stays as it is.
func (d *draft) before(n *onnx.NodeProto, a affine) []float64 {
	if is(n, "Relu", "LeakyRelu") && (a.shift != nil || !a.positive()) {
		return nil
	}
	if is(n, "MaxPool", "GlobalMaxPool") && !a.positive() {
		return nil
	}
	if is(n, "AveragePool") && a.shift != nil && !d.unpadded(n) {
		return nil
	}
	x, y := d.shapes[n.In(0)], d.shapes[out(n)]
	if len(x) < 2 || len(y) < 2 || x[0] != y[0] || x[1] != y[1] || int(x[1]) != len(a.scale) {
		return nil
	}
	if d.homogeneous(n) || d.reshapes(n) && spatial(x) == spatial(y) {
		return a.scale
	}
	return nil
}

// unpadded reports whether every window of a pooling lies inside the image.
func (d *draft) unpadded(n *onnx.NodeProto) bool {
	pad := string(n.Attr("auto_pad").GetS())
	return (pad == "" || pad == "NOTSET" || pad == "VALID") && n.Int("ceil_mode", 0) == 0 &&
		!slices.ContainsFunc(n.Ints("pads"), func(p int64) bool { return p != 0 })
}
