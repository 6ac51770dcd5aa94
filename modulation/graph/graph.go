// Package graph knows how the nodes of an ONNX graph hang together, which its names only imply: what
// produces a tensor, in which order nodes can run, what is constant, which shapes follow from the
// input's, what a pass costs, and when two graphs compute the same (Digest).
package graph

import (
	"errors"
	"fmt"

	"github.com/facet-search/facet/modulation/onnx"
)

// Graph is an ONNX graph with its links resolved. It refers to the model it was made from, which must
// not be changed while the Graph is in use. Its methods are not safe for concurrent use.
type Graph struct {
	Model *onnx.ModelProto

	nodes     []*onnx.NodeProto
	order     []int // indices into nodes, producers before consumers
	producer  map[string]output
	constants map[string]*onnx.TensorProto // initialisers and the values of Constant nodes
	alias     map[string]string            // what an Identity node yields → what it was given, in the end
	inputs    map[string]int               // inputs that are no initialisers → position among them
	inputInfo []*onnx.ValueInfoProto

	hashes map[string]hash // memo of Digest
}

// output says which output of which node a tensor is.
type output struct{ node, index int }

// New resolves the links of a model's graph. It refuses graphs with cycles, with tensors that nothing
// or more than one node produces, with control flow and with functions of the file's own.
func New(m *onnx.ModelProto) (*Graph, error) {
	p := m.GetGraph()
	g := &Graph{
		Model:     m,
		nodes:     p.GetNode(),
		producer:  make(map[string]output, len(p.GetNode())),
		constants: make(map[string]*onnx.TensorProto, len(p.GetInitializer())),
		inputs:    make(map[string]int),
		alias:     make(map[string]string),
		hashes:    make(map[string]hash),
	}
	for _, link := range []func() error{g.linkConstants, g.linkInputs, g.linkNodes, g.sort, g.linkAliases} {
		if err := link(); err != nil {
			return nil, fmt.Errorf("graph %q: %w", p.GetName(), err)
		}
	}
	return g, nil
}

func (g *Graph) linkConstants() error {
	for _, t := range g.Model.GetGraph().GetInitializer() {
		if t.GetName() == "" {
			return errors.New("an initialiser has no name")
		}
		if g.constants[t.GetName()] != nil {
			return fmt.Errorf("two initialisers are named %q", t.GetName())
		}
		g.constants[t.GetName()] = t
	}
	return nil
}

// linkInputs takes what must be fed: older files list initialisers among the inputs too.
func (g *Graph) linkInputs() error {
	for _, v := range g.Model.GetGraph().GetInput() {
		if g.constants[v.GetName()] != nil {
			continue
		}
		if _, twice := g.inputs[v.GetName()]; twice || v.GetName() == "" {
			return fmt.Errorf("input %q has no name or one that is taken", v.GetName())
		}
		g.inputs[v.GetName()] = len(g.inputInfo)
		g.inputInfo = append(g.inputInfo, v)
	}
	return nil
}

func (g *Graph) linkNodes() error {
	local := make(map[[2]string]bool)
	for _, f := range g.Model.GetFunctions() {
		local[[2]string{onnx.CanonicalDomain(f.GetDomain()), f.GetName()}] = true
	}
	for i, n := range g.nodes {
		if local[[2]string{onnx.CanonicalDomain(n.GetDomain()), n.GetOpType()}] {
			return fmt.Errorf("%s calls a function of the file: inline it first, with onnx.inliner.inline_local_functions", n.Title())
		}
		if err := checkAttributes(n); err != nil {
			return err
		}
		if err := g.linkOutputs(i, n); err != nil {
			return err
		}
	}
	return nil
}

func (g *Graph) linkOutputs(i int, n *onnx.NodeProto) error {
	for j, name := range n.GetOutput() {
		if name == "" {
			continue
		}
		_, fed := g.inputs[name]
		if _, made := g.producer[name]; made || fed || g.constants[name] != nil {
			return fmt.Errorf("%s yields %q, which is there already", n.Title(), name)
		}
		g.producer[name] = output{i, j}
	}
	if !isConstant(n) || len(n.GetOutput()) == 0 || n.GetOutput()[0] == "" {
		return nil
	}
	t, err := n.ValueOf()
	if err != nil {
		return err
	}
	g.constants[n.GetOutput()[0]] = t
	return nil
}

func checkAttributes(n *onnx.NodeProto) error {
	if len(n.GetAttribute()) > maxAttributes {
		return fmt.Errorf("%s has %d attributes, want at most %d", n.Title(), len(n.GetAttribute()), maxAttributes)
	}
	for i, a := range n.GetAttribute() {
		if a.GetG() != nil || len(a.GetGraphs()) > 0 {
			return fmt.Errorf("%s holds a graph: control flow is not supported; export the network without it", n.Title())
		}
		for _, b := range n.GetAttribute()[:i] {
			if a.GetName() == b.GetName() {
				return fmt.Errorf("%s has two attributes %q", n.Title(), a.GetName())
			}
		}
	}
	return nil
}

// maxAttributes is far above any operator's and keeps hostile files from costing quadratic time.
const maxAttributes = 64

func isConstant(n *onnx.NodeProto) bool {
	return n.GetOpType() == "Constant" && onnx.CanonicalDomain(n.GetDomain()) == onnx.DefaultDomain
}

// sort orders the nodes by Kahn's algorithm: files should be in order but nothing keeps them to it, and
// what remains unordered is a cycle.
func (g *Graph) sort() error {
	waits := make([]int, len(g.nodes))
	consumers := make([][]int, len(g.nodes))
	for i, n := range g.nodes {
		for _, in := range n.GetInput() {
			p, made := g.producer[in]
			if made {
				waits[i]++
				consumers[p.node] = append(consumers[p.node], i)
			} else if !g.given(in) {
				return fmt.Errorf("%s reads %q, which is no input, no initialiser and no node's output", n.Title(), in)
			}
		}
	}
	g.order = make([]int, 0, len(g.nodes))
	for i, w := range waits {
		if w == 0 {
			g.order = append(g.order, i)
		}
	}
	for k := 0; k < len(g.order); k++ {
		for _, c := range consumers[g.order[k]] {
			if waits[c]--; waits[c] == 0 {
				g.order = append(g.order, c)
			}
		}
	}
	for i, w := range waits {
		if w > 0 {
			return fmt.Errorf("%s depends on its own output", g.nodes[i].Title())
		}
	}
	return nil
}

// given reports whether a tensor needs no node: an input, a constant, or one left out.
func (g *Graph) given(name string) bool {
	_, fed := g.inputs[name]
	return fed || name == "" || g.constants[name] != nil
}

// Inputs are the tensors that have to be fed, in the file's order.
func (g *Graph) Inputs() []*onnx.ValueInfoProto { return g.inputInfo }

// Has reports whether the graph holds a tensor of that name.
func (g *Graph) Has(tensor string) bool {
	_, made := g.producer[tensor]
	return tensor != "" && (made || g.given(tensor))
}

// Constant is the value of an initialiser or a Constant node, seen through Identity nodes; nil for
// anything else.
func (g *Graph) Constant(name string) *onnx.TensorProto { return g.constants[g.origin(name)] }

// origin is the tensor that a chain of Identity nodes passes on as name.
func (g *Graph) origin(name string) string {
	if o, ok := g.alias[name]; ok {
		return o
	}
	return name
}

func isIdentity(n *onnx.NodeProto) bool {
	return n.GetOpType() == "Identity" && onnx.CanonicalDomain(n.GetDomain()) == onnx.DefaultDomain &&
		len(n.GetInput()) == 1 && len(n.GetOutput()) == 1
}

// linkAliases follows Identity nodes in order, so that long chains of them cost no more than others.
func (g *Graph) linkAliases() error {
	for _, i := range g.order {
		if n := g.nodes[i]; isIdentity(n) {
			g.alias[n.GetOutput()[0]] = g.origin(n.In(0))
		}
	}
	return nil
}

// ancestors are the nodes that a tensor depends on, producers first.
func (g *Graph) ancestors(tensor string) []int {
	var stack []int
	seen := make([]bool, len(g.nodes))
	visit := func(name string) {
		if p, made := g.producer[name]; made && !seen[p.node] {
			seen[p.node] = true
			stack = append(stack, p.node)
		}
	}
	visit(tensor)
	count := 0
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		count++
		for _, in := range g.nodes[n].GetInput() {
			visit(in)
		}
	}
	list := make([]int, 0, count)
	for _, i := range g.order {
		if seen[i] {
			list = append(list, i)
		}
	}
	return list
}

// Order are the nodes in an order in which they can run.
func (g *Graph) Order() []*onnx.NodeProto {
	list := make([]*onnx.NodeProto, len(g.order))
	for k, i := range g.order {
		list[k] = g.nodes[i]
	}
	return list
}

// Producer is the node that yields a tensor, seen through Identity nodes; nil for inputs and constants.
func (g *Graph) Producer(tensor string) *onnx.NodeProto {
	p, made := g.producer[g.origin(tensor)]
	if !made || g.Constant(tensor) != nil {
		return nil
	}
	return g.nodes[p.node]
}
