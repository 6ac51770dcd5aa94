package exchange

import (
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// longest is the largest bound for lengths, added or as a minimum, that still counts as none.
const longest = 1e-4

// unit recognises the node that ends an L2 normalisation of vectors and tells what is normalised:
// LpNormalization, x / |x| or x · (1 / |x|), where |x| is ReduceL2, or the root of a sum of squares, may
// be bounded from below, and may be expanded to the shape of x.
func (i *importer) unit(n *onnx.NodeProto) (x string, ok bool) {
	x = n.In(0)
	switch n.GetOpType() {
	case "LpNormalization":
		return x, n.Int("p", 2) == 2 && i.overChannels([]int64{n.Int("axis", -1)}, x)
	case "Div":
		return x, i.length(n.In(1), x)
	case "Mul":
		for k := range 2 {
			x = n.In(k)
			if r := i.g.Producer(n.In(1 - k)); r != nil && r.GetOpType() == "Reciprocal" && i.length(r.In(0), x) {
				return x, true
			}
		}
	}
	return "", false
}

// length recognises the Euclidean length of x, however bounded from below.
func (i *importer) length(t, x string) bool {
	n := i.g.Producer(t)
	if n == nil {
		return false
	}
	switch n.GetOpType() {
	case "Expand":
		return i.length(n.In(0), x)
	case "Clip":
		return n.In(2) == "" && i.tiny(n.In(1)) && i.length(n.In(0), x)
	case "Max", "Add":
		for k := range 2 {
			if len(n.GetInput()) == 2 && i.tiny(n.In(1-k)) && i.length(n.In(k), x) {
				return true
			}
		}
	case "ReduceL2":
		return n.In(0) == x && i.reducesChannels(n)
	case "Sqrt":
		return i.squares(n.In(0), x)
	case "Pow":
		return i.number(n.In(1), 0.5) && i.squares(n.In(0), x)
	}
	return false
}

// squares recognises the sum of squares of x, however bounded from below.
func (i *importer) squares(t, x string) bool {
	n := i.g.Producer(t)
	if n == nil {
		return false
	}
	switch n.GetOpType() {
	case "Clip":
		return n.In(2) == "" && i.tiny(n.In(1)) && i.squares(n.In(0), x)
	case "Max", "Add":
		for k := range 2 {
			if len(n.GetInput()) == 2 && i.tiny(n.In(1-k)) && i.squares(n.In(k), x) {
				return true
			}
		}
	case "ReduceSumSquare":
		return n.In(0) == x && i.reducesChannels(n)
	case "ReduceSum":
		s := i.g.Producer(n.In(0))
		square := s != nil && s.In(0) == x && (s.GetOpType() == "Mul" && s.In(1) == x || s.GetOpType() == "Pow" && i.number(s.In(1), 2))
		return square && i.reducesChannels(n)
	}
	return false
}

// tiny reports whether a tensor is a constant that only keeps from dividing by 0.
func (i *importer) tiny(t string) bool {
	c := i.g.Constant(t)
	if c == nil {
		return false
	}
	v, err := c.Floats()
	return err == nil && len(v) == 1 && v[0] >= 0 && v[0] <= longest
}

func (i *importer) number(t string, want float32) bool {
	c := i.g.Constant(t)
	if c == nil {
		return false
	}
	v, err := c.Floats()
	return err == nil && len(v) == 1 && v[0] == want
}

// reducesChannels reports whether a reduction of vectors is over their elements, and keeps the axis.
func (i *importer) reducesChannels(n *onnx.NodeProto) bool {
	axes := n.Ints("axes")
	if t := i.g.Constant(n.In(1)); t != nil {
		v, err := t.Ints()
		if err != nil {
			return false
		}
		axes = v
	}
	return n.Int("keepdims", 1) != 0 && i.overChannels(axes, n.In(0))
}

// overChannels reports whether the one axis is that of a vector's elements.
func (i *importer) overChannels(axes []int64, x string) bool {
	return len(i.shapes.Of(x)) == 2 && (slices.Equal(axes, []int64{1}) || slices.Equal(axes, []int64{-1}))
}
