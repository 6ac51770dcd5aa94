package graph

import (
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// longest is the largest bound for lengths, added or as a minimum, that still counts as none.
const longest = 1e-4

// Unit recognises the node that ends an L2 normalisation of vectors and tells what is normalised:
// LpNormalization, x / |x| or x · (1 / |x|), where |x| is ReduceL2, or the root of a sum of squares, may
// be bounded from below, and may be expanded to the shape of x.
func (s *Shapes) Unit(n *onnx.NodeProto) (x string, ok bool) {
	x = n.In(0)
	if onnx.CanonicalDomain(n.GetDomain()) != onnx.DefaultDomain {
		return "", false
	}
	switch n.GetOpType() {
	case "LpNormalization":
		return x, n.Int("p", 2) == 2 && s.overChannels([]int64{n.Int("axis", -1)}, x)
	case "Div":
		return x, s.length(n.In(1), x)
	case "Mul":
		for k := range 2 {
			x = n.In(k)
			if r := s.g.Producer(n.In(1 - k)); r != nil && r.GetOpType() == "Reciprocal" && s.length(r.In(0), x) {
				return x, true
			}
		}
	}
	return "", false
}

// length recognises the Euclidean length of x, however bounded from below.
func (s *Shapes) length(t, x string) bool {
	n := s.g.Producer(t)
	if n == nil {
		return false
	}
	switch n.GetOpType() {
	case "Expand":
		return s.length(n.In(0), x)
	case "Clip":
		return n.In(2) == "" && s.tiny(n.In(1)) && s.length(n.In(0), x)
	case "Max", "Add":
		for k := range 2 {
			if len(n.GetInput()) == 2 && s.tiny(n.In(1-k)) && s.length(n.In(k), x) {
				return true
			}
		}
	case "ReduceL2":
		return n.In(0) == x && s.reducesChannels(n)
	case "Sqrt":
		return s.squares(n.In(0), x)
	case "Pow":
		return s.number(n.In(1), 0.5) && s.squares(n.In(0), x)
	}
	return false
}

// squares recognises the sum of squares of x, however bounded from below.
func (s *Shapes) squares(t, x string) bool {
	n := s.g.Producer(t)
	if n == nil {
		return false
	}
	switch n.GetOpType() {
	case "Clip":
		return n.In(2) == "" && s.tiny(n.In(1)) && s.squares(n.In(0), x)
	case "Max", "Add":
		for k := range 2 {
			if len(n.GetInput()) == 2 && s.tiny(n.In(1-k)) && s.squares(n.In(k), x) {
				return true
			}
		}
	case "ReduceSumSquare":
		return n.In(0) == x && s.reducesChannels(n)
	case "ReduceSum":
		q := s.g.Producer(n.In(0))
		square := q != nil && q.In(0) == x && (q.GetOpType() == "Mul" && q.In(1) == x || q.GetOpType() == "Pow" && s.number(q.In(1), 2))
		return square && s.reducesChannels(n)
	}
	return false
}

// tiny reports whether a tensor is a constant that only keeps from dividing by 0.
func (s *Shapes) tiny(t string) bool {
	c := s.g.Constant(t)
	if c == nil {
		return false
	}
	v, err := c.Floats()
	return err == nil && len(v) == 1 && v[0] >= 0 && v[0] <= longest
}

func (s *Shapes) number(t string, want float32) bool {
	c := s.g.Constant(t)
	if c == nil {
		return false
	}
	v, err := c.Floats()
	return err == nil && len(v) == 1 && v[0] == want
}

// reducesChannels reports whether a reduction of vectors is over their elements, and keeps the axis.
func (s *Shapes) reducesChannels(n *onnx.NodeProto) bool {
	axes := n.Ints("axes")
	if t := s.g.Constant(n.In(1)); t != nil {
		v, err := t.Ints()
		if err != nil {
			return false
		}
		axes = v
	}
	return n.Int("keepdims", 1) != 0 && s.overChannels(axes, n.In(0))
}

// overChannels reports whether the one axis is that of a vector's elements.
func (s *Shapes) overChannels(axes []int64, x string) bool {
	return len(s.Of(x)) == 2 && (slices.Equal(axes, []int64{1}) || slices.Equal(axes, []int64{-1}))
}
