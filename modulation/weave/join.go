package weave

import (
	"fmt"
	"slices"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// Join adds outputs of another model to a model, under their names. What both compute alike, by the
// digests of the tensors without attributes that have their defaults, is computed once; the model's own nodes stay as they are, so that its outputs
// change neither bits nor digests. shared is the number of the other model's nodes that were there.
func Join(m, other *onnx.ModelProto, outputs []string) (joined *onnx.ModelProto, shared int, err error) {
	if err := sameOperators(m, other); err != nil {
		return nil, 0, fmt.Errorf("join: %w", err)
	}
	j, err := newJoiner(m)
	if err != nil {
		return nil, 0, fmt.Errorf("join: %w", err)
	}
	if err := j.add(other, outputs); err != nil {
		return nil, 0, fmt.Errorf("join: %w", err)
	}
	joined = onnx.Shallow(m)
	joined.Graph = j.graph
	if _, err := graph.New(joined); err != nil {
		return nil, 0, fmt.Errorf("join: %w", err)
	}
	return joined, j.shared, nil
}

// sameOperators wants both models to mean the same by the same operators.
func sameOperators(m, other *onnx.ModelProto) error {
	for _, o := range other.GetOpsetImport() {
		v, ok := m.Opset(o.GetDomain())
		if !ok || v != o.GetVersion() {
			return fmt.Errorf("the models are written in versions %d and %d of the operator set %q: export the other one in the first one's version",
				v, o.GetVersion(), onnx.CanonicalDomain(o.GetDomain()))
		}
	}
	return nil
}

type joiner struct {
	graph  *onnx.GraphProto
	taken  map[string]bool
	have   map[[32]byte]string // digest → tensor of the model
	is     map[string]string   // tensor of the other model → tensor of the result
	shared int
}

func newJoiner(m *onnx.ModelProto) (*joiner, error) {
	g, err := graph.New(m)
	if err != nil {
		return nil, err
	}
	digests, err := digestsOf(m)
	if err != nil {
		return nil, err
	}
	j := &joiner{graph: onnx.Shallow(m.GetGraph()), taken: map[string]bool{}, have: map[[32]byte]string{}, is: map[string]string{}}
	for _, n := range g.Order() { // in order, so that the result does not depend on a map's
		for _, t := range slices.Concat(n.GetInput(), n.GetOutput()) {
			j.taken[t] = true
			if _, ok := j.have[digests[t]]; !ok && t != "" {
				j.have[digests[t]] = t
			}
		}
	}
	for _, w := range m.GetGraph().GetInitializer() {
		j.taken[w.GetName()] = true
	}
	for _, v := range slices.Concat(m.GetGraph().GetInput(), m.GetGraph().GetOutput()) {
		j.taken[v.GetName()] = true
	}
	j.graph.Node = slices.Clone(j.graph.GetNode())
	j.graph.Initializer = slices.Clone(j.graph.GetInitializer())
	j.graph.Output = slices.Clone(j.graph.GetOutput())
	return j, nil
}

// digestsOf are the digests of a model's tensors however its exporter spells defaults.
func digestsOf(m *onnx.ModelProto) (map[string][32]byte, error) {
	g, err := graph.New(canonical(m))
	if err != nil {
		return nil, err
	}
	return g.Digests()
}

// add appends what the outputs of the other model need and the model does not have.
func (j *joiner) add(other *onnx.ModelProto, outputs []string) error {
	whole, err := graph.New(other)
	if err != nil {
		return err
	}
	cut, err := whole.Cut(outputs)
	if err != nil {
		return err
	}
	g, err := graph.New(cut)
	if err != nil {
		return err
	}
	digests, err := digestsOf(cut)
	if err != nil {
		return err
	}
	for _, v := range cut.GetGraph().GetOutput() {
		if j.taken[v.GetName()] {
			return fmt.Errorf("the name of output %q is taken", v.GetName())
		}
		j.taken[v.GetName()] = true
		j.graph.Output = append(j.graph.Output, v)
	}
	for _, n := range g.Order() {
		if err := j.node(g, n, digests, outputs); err != nil {
			return err
		}
	}
	return nil
}

// node appends one node, unless the model computes the same already.
func (j *joiner) node(g *graph.Graph, n *onnx.NodeProto, digests map[string][32]byte, outputs []string) error {
	c := onnx.Shallow(n)
	c.Input, c.Output = slices.Clone(n.GetInput()), slices.Clone(n.GetOutput())
	if j.known(n, digests, outputs) {
		j.shared++
		return nil
	}
	for i, in := range c.Input {
		to, err := j.input(g, in, digests)
		if err != nil {
			return err
		}
		c.Input[i] = to
	}
	for i, t := range c.Output {
		if t != "" && !slices.Contains(outputs, t) {
			c.Output[i] = j.fresh(t)
		}
		j.is[t] = c.Output[i]
	}
	c.Name = new(c.GetOpType() + "/" + c.Output[0])
	j.graph.Node = append(j.graph.Node, c)
	return nil
}

// known reports whether the model has all that a node yields. An output of the other model gets a node of
// its own in any case, for its name.
func (j *joiner) known(n *onnx.NodeProto, digests map[string][32]byte, outputs []string) bool {
	for _, t := range n.GetOutput() {
		same, ok := j.have[digests[t]]
		if t != "" && (!ok || slices.Contains(outputs, t)) {
			return false
		}
		j.is[t] = same
	}
	return true
}

// input is what a tensor of the other model is called in the result; constants are added as needed.
func (j *joiner) input(g *graph.Graph, t string, digests map[string][32]byte) (string, error) {
	if t == "" {
		return "", nil
	}
	if to, ok := j.is[t]; ok {
		return to, nil
	}
	if same, ok := j.have[digests[t]]; ok {
		j.is[t] = same
		return same, nil
	}
	w := g.Constant(t)
	if w == nil {
		return "", fmt.Errorf("input %q has no counterpart", t)
	}
	w = onnx.Shallow(w)
	w.Name = new(j.fresh(t))
	j.graph.Initializer = append(j.graph.Initializer, w)
	j.is[t] = w.GetName()
	return w.GetName(), nil
}

func (j *joiner) fresh(hint string) string {
	name := hint
	for i := 2; j.taken[name]; i++ {
		name = fmt.Sprintf("%s:%d", hint, i)
	}
	j.taken[name] = true
	return name
}
