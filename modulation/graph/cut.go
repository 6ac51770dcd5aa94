package graph

import (
	"fmt"
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// Cut is the model with some of its outputs alone: the nodes and initialisers that they need, in an
// order in which nodes can run. The digests of these outputs stay as they are. The result shares nodes
// and weights with the graph's model.
func (g *Graph) Cut(outputs []string) (*onnx.ModelProto, error) {
	p := onnx.Shallow(g.Model.GetGraph())
	p.Output = nil
	need := make([]bool, len(g.nodes))
	weights := make(map[string]bool)
	for _, name := range outputs {
		i := slices.IndexFunc(g.Model.GetGraph().GetOutput(), func(v *onnx.ValueInfoProto) bool { return v.GetName() == name })
		if i < 0 {
			return nil, fmt.Errorf("the graph has no output %q", name)
		}
		p.Output = append(p.Output, g.Model.GetGraph().GetOutput()[i])
		weights[name] = true
		for _, n := range g.ancestors(name) {
			need[n] = true
		}
	}
	tensors := make(map[string]bool)
	p.Node = nil
	for _, i := range g.order {
		if !need[i] {
			continue
		}
		p.Node = append(p.Node, g.nodes[i])
		for _, in := range g.nodes[i].GetInput() {
			weights[in] = true
		}
		for _, out := range g.nodes[i].GetOutput() {
			tensors[out] = true
		}
	}
	p.Initializer = keep(p.GetInitializer(), weights)
	p.ValueInfo = keep(p.GetValueInfo(), tensors)
	p.Input = slices.DeleteFunc(slices.Clone(p.GetInput()), func(v *onnx.ValueInfoProto) bool {
		return g.constants[v.GetName()] != nil && !weights[v.GetName()]
	})
	m := onnx.Shallow(g.Model)
	m.Graph = p
	return m, nil
}

// keep are the elements with one of the names.
func keep[T interface{ GetName() string }](list []T, names map[string]bool) []T {
	var kept []T
	for _, x := range list {
		if names[x.GetName()] {
			kept = append(kept, x)
		}
	}
	return kept
}
