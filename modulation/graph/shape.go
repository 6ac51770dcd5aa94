package graph

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// Shape is the extents of a tensor. A nil Shape is not known; Shape{} is a scalar's.
type Shape []int64

const (
	// maxRank and maxElements bound what inference takes for a shape, maxValues the integer tensors
	// that it follows: beyond them lie only hostile files.
	maxRank     = 16
	maxElements = 1 << 40
	maxValues   = 64
)

// Elements is the number of elements; ok is false for shapes out of bounds.
func (s Shape) Elements() (n int64, ok bool) {
	if len(s) > maxRank {
		return 0, false
	}
	n = 1
	for _, d := range s {
		if d < 0 || d > maxElements {
			return 0, false
		}
		if d > 0 && n > maxElements/d {
			return 0, false
		}
		n *= d
	}
	return n, true
}

// Shapes is what is known of a graph's tensors for inputs of given shapes.
type Shapes struct {
	g      *Graph
	shapes map[string]Shape
	values map[string][]int64 // contents of small integer tensors, from which shapes are computed
	params map[string]int64   // what the inputs' symbolic extents stand for
	why    map[string]string  // tensor → why its shape is not known
}

// Infer computes the shapes of all tensors that follow from those of the inputs (by name). An operator
// that it does not know leaves its outputs unknown, unless the file declares them: nothing is guessed.
func (g *Graph) Infer(inputs map[string]Shape) *Shapes {
	s := &Shapes{
		g:      g,
		shapes: make(map[string]Shape, len(g.producer)),
		values: make(map[string][]int64),
		params: make(map[string]int64),
		why:    make(map[string]string),
	}
	for _, v := range g.inputInfo {
		s.bind(v, inputs[v.GetName()])
	}
	declared := make(map[string]*onnx.ValueInfoProto)
	for _, v := range slices.Concat(g.Model.GetGraph().GetValueInfo(), g.Model.GetGraph().GetOutput()) {
		declared[v.GetName()] = v
	}
	for _, i := range g.order {
		s.inferNode(g.nodes[i], declared)
	}
	return s
}

// Of is the shape of a tensor, nil when it is not known.
func (s *Shapes) Of(name string) Shape {
	if t := s.g.constants[name]; t != nil {
		if _, ok := Shape(t.GetDims()).Elements(); !ok {
			return nil
		}
		return append(Shape{}, t.GetDims()...)
	}
	return s.shapes[name]
}

// Why says why a tensor's shape is not known.
func (s *Shapes) Why(name string) string { return s.why[name] }

func (s *Shapes) bind(v *onnx.ValueInfoProto, shape Shape) {
	s.shapes[v.GetName()] = shape
	for i, d := range v.GetType().GetTensorType().GetShape().GetDim() {
		if i < len(shape) && d.GetDimParam() != "" {
			s.params[d.GetDimParam()] = shape[i]
		}
	}
}

func (s *Shapes) inferNode(n *onnx.NodeProto, declared map[string]*onnx.ValueInfoProto) {
	if isConstant(n) || len(n.GetOutput()) == 0 {
		return
	}
	out, err := s.apply(n)
	for i, name := range n.GetOutput() {
		if err == nil && i < len(out) {
			s.set(name, out[i])
		} else if v := declared[name]; v != nil {
			s.set(name, s.declaredShape(v))
		}
		if name != "" && s.shapes[name] == nil {
			s.why[name] = s.reason(n, err)
		}
	}
	if v := s.follow(n); v != nil && len(v) <= maxValues {
		s.values[n.GetOutput()[0]] = v
	}
}

func (s *Shapes) set(name string, shape Shape) {
	if _, ok := shape.Elements(); ok && name != "" && shape != nil {
		s.shapes[name] = shape
	}
}

// reason passes on the cause that came first.
func (s *Shapes) reason(n *onnx.NodeProto, err error) string {
	for _, in := range n.GetInput() {
		if why := s.why[in]; why != "" {
			return why
		}
	}
	if err == nil {
		return fmt.Sprintf("%s: its shape is out of bounds", n.Title())
	}
	return fmt.Sprintf("%s: %v", n.Title(), err)
}

func (s *Shapes) apply(n *onnx.NodeProto) ([]Shape, error) {
	rule := rules[n.GetOpType()]
	if rule == nil || onnx.CanonicalDomain(n.GetDomain()) != onnx.DefaultDomain {
		return nil, errors.New("the shapes it yields are not known to Facet")
	}
	c := call{s: s, n: n, in: make([]Shape, len(n.GetInput()))}
	for i, name := range n.GetInput() {
		c.in[i] = s.Of(name)
	}
	if len(c.in) == 0 || c.in[0] == nil {
		return nil, errors.New("the shape of its input is not known")
	}
	return rule(c)
}

// declaredShape is what the file says of a tensor, if that is complete and follows the batch: exporters
// leave extents of the batch that they happened to trace with.
func (s *Shapes) declaredShape(v *onnx.ValueInfoProto) Shape {
	t := v.GetType().GetTensorType()
	if t == nil || t.GetShape() == nil {
		return nil
	}
	shape := Shape{}
	for i, d := range t.GetShape().GetDim() {
		switch n, bound := s.params[d.GetDimParam()]; {
		case bound:
			shape = append(shape, n)
		case i > 0 && d.GetValue() != nil && d.GetDimParam() == "":
			shape = append(shape, d.GetDimValue())
		default:
			return nil
		}
	}
	return shape
}

// ints is the content of a small integer tensor, if known.
func (s *Shapes) ints(name string) ([]int64, bool) {
	if v, ok := s.values[name]; ok {
		return v, true
	}
	t := s.g.Constant(name)
	if t == nil {
		return nil, false
	}
	if n, err := t.Elements(); err != nil || n > maxValues {
		return nil, false
	}
	v, err := t.Ints()
	return v, err == nil
}

// follow computes the content of the integer tensors that exporters derive from shapes.
func (s *Shapes) follow(n *onnx.NodeProto) []int64 {
	switch n.GetOpType() {
	case "Shape":
		return slices.Clone(cut(s.Of(n.In(0)), n.Int("start", 0), n.Int("end", math.MaxInt64)))
	case "Identity", "Cast", "Unsqueeze", "Squeeze", "Reshape":
		v, _ := s.ints(n.In(0))
		return v
	case "Gather":
		return s.followGather(n)
	case "Concat":
		return s.followConcat(n)
	case "Slice":
		return s.followSlice(n)
	}
	return nil
}

func (s *Shapes) followGather(n *onnx.NodeProto) []int64 {
	data, ok := s.ints(n.In(0))
	index, ok2 := s.ints(n.In(1))
	if !ok || !ok2 || n.Int("axis", 0) != 0 {
		return nil
	}
	var v []int64
	for _, i := range index {
		if i < 0 {
			i += int64(len(data))
		}
		if i < 0 || i >= int64(len(data)) {
			return nil
		}
		v = append(v, data[i])
	}
	return v
}

func (s *Shapes) followConcat(n *onnx.NodeProto) []int64 {
	var v []int64
	for _, name := range n.GetInput() {
		part, ok := s.ints(name)
		if !ok || len(v)+len(part) > maxValues {
			return nil
		}
		v = append(v, part...)
	}
	return v
}

func (s *Shapes) followSlice(n *onnx.NodeProto) []int64 {
	data, ok := s.ints(n.In(0))
	from, ok1 := s.ints(n.In(1))
	to, ok2 := s.ints(n.In(2))
	if steps, given := s.ints(n.In(4)); n.In(4) != "" && (!given || !slices.Equal(steps, []int64{1})) {
		return nil
	}
	if !ok || !ok1 || !ok2 || len(from) != 1 || len(to) != 1 {
		return nil
	}
	return slices.Clone(cut(data, from[0], to[0]))
}

// cut is list[from:to] with ONNX's negative and overlong bounds.
func cut(list []int64, from, to int64) []int64 {
	n := int64(len(list))
	bound := func(i int64) int64 {
		if i < 0 {
			i += n
		}
		return min(max(i, 0), n)
	}
	if list == nil || bound(from) >= bound(to) {
		return nil
	}
	return list[bound(from):bound(to)]
}
