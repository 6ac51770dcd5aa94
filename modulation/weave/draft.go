package weave

import (
	"fmt"
	"maps"
	"slices"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// maxNodes is beyond any network with any number of tasks that fits a file, and keeps rewriting from
// taking hours on a hostile one.
const maxNodes = 1 << 16

// draft is a graph while it is rewritten. A tensor's name keeps its meaning for the draft's life, up to
// scales and shifts of channels.
type draft struct {
	model   *onnx.ModelProto
	nodes   []*onnx.NodeProto // in an order in which they can run, but for those put in since
	gone    map[*onnx.NodeProto]bool
	made    map[string]*onnx.NodeProto
	readers map[string][]*onnx.NodeProto // a node that reads a tensor twice is there twice
	weights map[string]*onnx.TensorProto
	outputs map[string]bool
	input   graph.Shape
	shapes  map[string]graph.Shape // for a batch of probe images
	keep    map[string]bool        // tensors whose values are not to be scaled
	alias   map[string]string      // tensors that are gone → what their readers read instead
}

// probe is the batch for which shapes are inferred: not 1, so that an axis that follows it shows.
const probe = 2

// newDraft reads a model's graph. input is the shape [N, C, H, W] of its one input, of which N does not
// count; nil takes what the file declares.
func newDraft(m *onnx.ModelProto, input graph.Shape) (*draft, error) {
	g, err := graph.New(m)
	if err != nil {
		return nil, err
	}
	if n := len(g.Order()); n > maxNodes {
		return nil, fmt.Errorf("the graph has %d nodes, more than %d", n, maxNodes)
	}
	d := &draft{
		model: m, gone: map[*onnx.NodeProto]bool{}, made: map[string]*onnx.NodeProto{}, readers: map[string][]*onnx.NodeProto{},
		weights: map[string]*onnx.TensorProto{}, outputs: map[string]bool{}, shapes: map[string]graph.Shape{}, keep: map[string]bool{}, alias: map[string]string{},
	}
	for _, w := range m.GetGraph().GetInitializer() {
		d.weights[w.GetName()] = w
	}
	for _, v := range m.GetGraph().GetOutput() {
		d.outputs[v.GetName()] = true
	}
	for _, n := range g.Order() {
		if t := constantOf(g, n); t != nil && !d.outputs[n.GetOutput()[0]] {
			d.weights[n.GetOutput()[0]] = t
			continue
		}
		n = onnx.Shallow(n)
		n.Input = slices.Clone(n.GetInput())
		d.insert(n)
	}
	return d, d.infer(g, input)
}

// constantOf is the value of a Constant node under the node's own name.
func constantOf(g *graph.Graph, n *onnx.NodeProto) *onnx.TensorProto {
	if !is(n, "Constant") || len(n.GetOutput()) != 1 {
		return nil
	}
	t := onnx.Shallow(g.Constant(n.GetOutput()[0]))
	t.Name = new(n.GetOutput()[0])
	return t
}

// infer computes the shapes that follow from the input's.
func (d *draft) infer(g *graph.Graph, input graph.Shape) error {
	if len(g.Inputs()) != 1 {
		return fmt.Errorf("the graph has %d inputs, want the images alone", len(g.Inputs()))
	}
	in := g.Inputs()[0]
	if input == nil {
		input = declaredShape(in)
	}
	if d.input = slices.Clone(input); len(d.input) > 0 {
		d.input[0] = probe
	}
	s := g.Infer(map[string]graph.Shape{in.GetName(): d.input})
	d.shapes[in.GetName()] = d.input
	for _, n := range d.nodes {
		for _, out := range n.GetOutput() {
			if shape := s.Of(out); shape != nil {
				d.shapes[out] = shape
			}
		}
	}
	return nil
}

// declaredShape is the input's declared shape, nil where an extent but the first is open.
func declaredShape(v *onnx.ValueInfoProto) graph.Shape {
	s := graph.Shape{}
	for i, dim := range v.GetType().GetTensorType().GetShape().GetDim() {
		if i > 0 && dim.GetDimValue() < 1 {
			return nil
		}
		s = append(s, dim.GetDimValue())
	}
	return s
}

// is reports whether the node is a standard operator of one of these types.
func is(n *onnx.NodeProto, ops ...string) bool {
	return n != nil && slices.Contains(ops, n.GetOpType()) && onnx.CanonicalDomain(n.GetDomain()) == onnx.DefaultDomain
}

// out is the node's first output.
func out(n *onnx.NodeProto) string { return n.GetOutput()[0] }

// live are the nodes that have not been removed.
func (d *draft) live() []*onnx.NodeProto {
	d.nodes = slices.DeleteFunc(d.nodes, func(n *onnx.NodeProto) bool { return d.gone[n] })
	clear(d.gone)
	return slices.Clone(d.nodes)
}

func (d *draft) insert(n *onnx.NodeProto) {
	d.nodes = append(d.nodes, n)
	for _, t := range n.GetOutput() {
		if t != "" {
			d.made[t] = n
		}
	}
	for _, t := range n.GetInput() {
		if t != "" {
			d.readers[t] = append(d.readers[t], n)
		}
	}
}

func (d *draft) remove(n *onnx.NodeProto) {
	d.gone[n] = true
	for _, t := range n.GetOutput() {
		if d.made[t] == n {
			delete(d.made, t)
		}
	}
	for _, t := range n.GetInput() {
		d.unread(t, n)
	}
}

// unread forgets one reading of a tensor.
func (d *draft) unread(t string, n *onnx.NodeProto) {
	if i := slices.Index(d.readers[t], n); i >= 0 {
		d.readers[t] = slices.Delete(d.readers[t], i, i+1)
	}
}

// feed makes a node read another tensor as input i.
func (d *draft) feed(n *onnx.NodeProto, i int, tensor string) {
	d.unread(n.Input[i], n)
	n.Input[i] = tensor
	if tensor != "" {
		d.readers[tensor] = append(d.readers[tensor], n)
	}
}

// reroute makes all readers of a tensor read another one.
func (d *draft) reroute(from, to string) {
	for _, n := range slices.Clone(d.readers[from]) {
		for i, in := range n.GetInput() {
			if in == from {
				d.feed(n, i, to)
			}
		}
	}
}

// sole is the one node that reads a tensor, nil when there are others or the tensor is an output.
func (d *draft) sole(t string) *onnx.NodeProto {
	if len(d.readers[t]) != 1 || d.outputs[t] {
		return nil
	}
	return d.readers[t][0]
}

// fresh is a name that nothing has.
func (d *draft) fresh(hint string) string {
	name := hint
	for i := 2; d.made[name] != nil || d.weights[name] != nil || d.shapes[name] != nil || len(d.readers[name]) > 0; i++ {
		name = fmt.Sprintf("%s:%d", hint, i)
	}
	return name
}

// store adds a weight and returns its name.
func (d *draft) store(hint string, dims []int64, values []float32) string {
	name := d.fresh(hint)
	d.weights[name] = onnx.NewFloats(name, dims, values)
	return name
}

// floats are the values of a float32 constant, nil for anything else.
func (d *draft) floats(name string) []float32 {
	t := d.weights[name]
	if t == nil || onnx.DataTypeOf(t) != onnx.TensorProto_FLOAT {
		return nil
	}
	v, err := t.Floats()
	if err != nil {
		return nil
	}
	return v
}

// finish is the rewritten model: its nodes in an order in which they can run, as near to the draft's as
// can be, and the weights they read.
func (d *draft) finish() (*onnx.ModelProto, error) {
	d.sweep()
	p := onnx.Shallow(d.model.GetGraph())
	p.Node = d.sorted()
	read := map[string]bool{}
	for _, n := range p.Node {
		for _, in := range n.GetInput() {
			read[in] = true
		}
	}
	p.Initializer = nil
	for _, name := range slices.Sorted(maps.Keys(d.weights)) {
		if read[name] || d.outputs[name] {
			p.Initializer = append(p.Initializer, d.weights[name])
		}
	}
	p.ValueInfo = nil // of tensors that may be gone or have other shapes
	p.Input = slices.DeleteFunc(slices.Clone(p.GetInput()), func(v *onnx.ValueInfoProto) bool { return d.weights[v.GetName()] != nil })
	m := onnx.Shallow(d.model)
	m.Graph = p
	if _, err := graph.New(m); err != nil {
		return nil, fmt.Errorf("the rewritten graph: %w", err)
	}
	return m, nil
}

// sorted puts every node behind those it reads from.
func (d *draft) sorted() []*onnx.NodeProto {
	var list []*onnx.NodeProto
	seen := map[*onnx.NodeProto]bool{}
	var visit func(*onnx.NodeProto)
	visit = func(n *onnx.NodeProto) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		for _, in := range n.GetInput() {
			visit(d.made[in])
		}
		list = append(list, n)
	}
	for _, n := range d.live() {
		visit(n)
	}
	return list
}

// sweep removes the nodes that no output needs.
func (d *draft) sweep() {
	need := map[*onnx.NodeProto]bool{}
	var stack []*onnx.NodeProto
	push := func(t string) {
		if n := d.made[t]; n != nil && !need[n] {
			need[n] = true
			stack = append(stack, n)
		}
	}
	for t := range d.outputs {
		push(t)
	}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, in := range n.GetInput() {
			push(in)
		}
	}
	for _, n := range d.live() {
		if !need[n] {
			d.remove(n)
		}
	}
}
