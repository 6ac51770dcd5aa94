package graph

import (
	"fmt"
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// Cost is what tensors take to compute.
type Cost struct {
	// Parameters is the number of weights: elements of the constants that have at least one dimension
	// and a type that weights have. Scalars (an epsilon, a bound) and int64 tensors (axes, shapes) are
	// none.
	Parameters int64
	// MACs is the number of multiply-accumulates of convolutions and matrix products in one pass. All
	// other operators count as none, as is usual.
	MACs int64
	// Unknown says why MACs is not known; "" when it is.
	Unknown string
}

func (c *Cost) add(d Cost) {
	c.Parameters += d.Parameters
	c.MACs += d.MACs
	if c.Unknown == "" {
		c.Unknown = d.Unknown
	}
}

// Costs are those of several tensors computed in one pass.
type Costs struct {
	All       Cost
	Shared    Cost   // of what two or more of them need
	Each      []Cost // of what one needs, shared or not
	Exclusive []Cost // of what one alone needs
	Unused    int64  // parameters of initialisers that none of them needs
}

// charge books a cost that one use has.
func (c *Costs) charge(u use, d Cost) {
	switch u.users {
	case 0:
		return
	case 1:
		c.Exclusive[u.last].add(d)
	default:
		c.Shared.add(d)
	}
	c.All.add(d)
}

// use counts the tensors that need something; they are visited one after another.
type use struct{ users, last int }

func (u use) by(tensor int) use { return use{u.users + 1, tensor} }

// Cost adds up what the tensors take, given the shapes of a pass. What is computed from constants alone
// counts as free, because runtimes fold it.
func (g *Graph) Cost(tensors []string, shapes *Shapes) Costs {
	c := Costs{Each: make([]Cost, len(tensors)), Exclusive: make([]Cost, len(tensors))}
	nodes, weights := make([]use, len(g.nodes)), make(map[string]use)
	macs := g.nodeCosts(shapes)
	for t, name := range tensors {
		own := g.ancestors(name)
		for _, i := range own {
			nodes[i] = nodes[i].by(t)
			c.Each[t].add(macs[i])
		}
		for w := range g.weightsOf(name, own) {
			weights[w] = weights[w].by(t)
			c.Each[t].add(parameters(g.constants[w]))
		}
	}
	for _, i := range g.order { // in order, so that the reason given is the first one's
		c.charge(nodes[i], macs[i])
	}
	for name, t := range g.constants {
		c.charge(weights[name], parameters(t))
		if _, made := g.producer[name]; !made && weights[name].users == 0 {
			c.Unused += parameters(t).Parameters
		}
	}
	return c
}

// weightsOf are the names of the constants that a tensor with these ancestors needs.
func (g *Graph) weightsOf(tensor string, ancestors []int) map[string]bool {
	names := make(map[string]bool)
	note := func(name string) {
		if name = g.origin(name); g.constants[name] != nil {
			names[name] = true
		}
	}
	note(tensor)
	for _, i := range ancestors {
		for _, in := range g.nodes[i].GetInput() {
			note(in)
		}
	}
	return names
}

func parameters(t *onnx.TensorProto) Cost {
	switch onnx.DataTypeOf(t) {
	case onnx.TensorProto_INT64, onnx.TensorProto_BOOL, onnx.TensorProto_STRING:
		return Cost{}
	}
	if len(t.GetDims()) == 0 {
		return Cost{}
	}
	n, _ := t.Elements() // Read has checked it
	return Cost{Parameters: int64(n)}
}

// nodeCosts is the cost of every node's operator; nothing for those that no input feeds.
func (g *Graph) nodeCosts(shapes *Shapes) []Cost {
	costs := make([]Cost, len(g.nodes))
	fed := make(map[string]bool)
	for name := range g.inputs {
		fed[name] = true
	}
	for _, i := range g.order {
		n := g.nodes[i]
		if len(n.GetOutput()) == 0 {
			continue
		}
		for _, in := range n.GetInput() {
			if fed[in] {
				costs[i] = macs(n, shapes)
				for _, out := range n.GetOutput() {
					fed[out] = out != ""
				}
				break
			}
		}
	}
	return costs
}

// free are the operators without a rule for their shapes that multiply no matrices either.
var free = map[string]bool{
	"ArgMax": true, "ArgMin": true, "ConstantOfShape": true, "DepthToSpace": true, "Range": true, "Resize": true,
	"Size": true, "SpaceToDepth": true, "Tile": true, "TopK": true,
}

// macs is the number of multiply-accumulates of one node, which yields something: elements of its
// output (its input, for a transposed convolution) × the elements that each sums over.
func macs(n *onnx.NodeProto, s *Shapes) Cost {
	op, out := n.GetOpType(), s.Of(n.GetOutput()[0])
	if onnx.CanonicalDomain(n.GetDomain()) != onnx.DefaultDomain {
		op = ""
	}
	switch op {
	case "Conv", "ConvInteger":
		return product(n, s, out, from(s.Of(n.In(1)), 1))
	case "QLinearConv":
		return product(n, s, out, from(s.Of(n.In(3)), 1))
	case "ConvTranspose":
		return product(n, s, s.Of(n.In(0)), from(s.Of(n.In(1)), 1))
	case "MatMul", "MatMulInteger", "QLinearMatMul":
		a := s.Of(n.In(0))
		return product(n, s, out, from(a, len(a)-1))
	case "Gemm":
		a := s.Of(n.In(0))
		if n.Int("transA", 0) != 0 && len(a) == 2 {
			a = a[:1]
		}
		return product(n, s, out, from(a, len(a)-1))
	}
	if rules[op] == nil && !free[op] {
		return Cost{Unknown: fmt.Sprintf("%s: what it costs is not known to Facet", n.Title())}
	}
	return Cost{}
}

// from is the shape from axis i on, nil when it has no such axis.
func from(s Shape, i int) Shape {
	if i < 0 || i >= len(s) {
		return nil
	}
	return s[i:]
}

func product(n *onnx.NodeProto, s *Shapes, elements, over Shape) Cost {
	if elements != nil && over != nil {
		if total, ok := slices.Concat(elements, over).Elements(); ok {
			return Cost{MACs: total}
		}
	}
	if why := s.Why(n.GetOutput()[0]); why != "" {
		return Cost{Unknown: why}
	}
	return Cost{Unknown: fmt.Sprintf("%s: its shapes are not known", n.Title())}
}
