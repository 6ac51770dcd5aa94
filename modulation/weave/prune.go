package weave

import (
	"fmt"
	"slices"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// Pruning says what Prune may do.
type Pruning struct {
	Input graph.Shape // of the images; nil takes what the file declares
	// Multiple is what numbers of channels are rounded up to, with channels that are dead; 0 means 1.
	// Engines work on channels in blocks of 8 or 16 and are slower beside them.
	Multiple int
	// Copy also prunes layers whose weights tasks share, which takes fewer multiplications and, as every
	// task needs its own weights then, more memory.
	Copy bool
}

// Prune drops channels that no output can depend on: those that are the same for every image, such as
// those that a scale of 0 leaves, and those that nothing reads. Only nodes that serve one output alone
// change, so that what tasks share stays shared; a node that wants but some channels of a tensor that has
// to stay gathers these. Channels of sums are dropped where all of the sum can do without them. What is
// dropped is zero, multiplied by zero, or a constant that a bias takes in, so outputs stay equal up to
// rounding. It finds scales that Fold has moved into weights, and explicit ones.
func Prune(m *onnx.ModelProto, opt Pruning) (*onnx.ModelProto, error) {
	d, err := newDraft(m, opt.Input)
	if err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	d.simplify()
	p := &pruner{
		draft: d, multiple: max(opt.Multiple, 1), copy: opt.Copy, own: map[*onnx.NodeProto]bool{}, known: map[string][]float64{}, live: map[string][]bool{},
		layers: map[*onnx.NodeProto]*layer{}, roles: map[*onnx.NodeProto]role{},
	}
	p.findOwn()
	p.findConstants()
	p.findNeeds()
	p.settle()
	p.cut()
	p.share()
	if m, err = d.finish(); err != nil {
		return nil, fmt.Errorf("prune: %w", err)
	}
	return m, nil
}

// pruner knows of every tensor [N, C, …] which channels have one value for every image and position, and
// which have to stay.
type pruner struct {
	*draft
	multiple int
	copy     bool
	own      map[*onnx.NodeProto]bool // nodes that serve one output alone
	known    map[string][]float64     // NaN for channels that vary
	live     map[string][]bool        // at first: what something needs; then: what stays
	layers   map[*onnx.NodeProto]*layer
	roles    map[*onnx.NodeProto]role
	order    []*onnx.NodeProto
}

// findOwn finds the nodes that may change.
func (p *pruner) findOwn() {
	p.order = p.sorted()
	serves := map[*onnx.NodeProto]int{} // 0 none, -1 several, else output + 1
	outputs := 0
	for _, v := range p.model.GetGraph().GetOutput() {
		outputs++
		for _, n := range p.ancestors(v.GetName()) {
			if serves[n] == 0 {
				serves[n] = outputs
			} else if serves[n] != outputs {
				serves[n] = -1
			}
		}
	}
	for _, n := range p.order {
		p.own[n] = serves[n] > 0
		if l, ok := p.layer(n); ok {
			p.layers[n] = l
		}
		p.roles[n] = p.classify(n)
	}
}

// ancestors are the nodes that a tensor depends on.
func (d *draft) ancestors(tensor string) []*onnx.NodeProto {
	seen := map[*onnx.NodeProto]bool{}
	var list []*onnx.NodeProto
	push := func(t string) {
		if n := d.made[t]; n != nil && !seen[n] {
			seen[n] = true
			list = append(list, n)
		}
	}
	push(tensor)
	for k := 0; k < len(list); k++ {
		for _, in := range list[k].GetInput() {
			push(in)
		}
	}
	return list
}

// role is how a node treats channels.
type role int

const (
	barrier   role = iota // nothing is known: all channels are needed, in their places
	mixes                 // a layer: each output sums over all inputs
	keeps                 // each output channel comes of the input's channel of that number
	adds                  // as keeps, of two inputs
	flattens              // a channel becomes as many as it has positions
	depthwise             // a layer that keeps
)

func (p *pruner) role(n *onnx.NodeProto) role { return p.roles[n] }

func (p *pruner) classify(n *onnx.NodeProto) role {
	x, y := p.shapes[n.In(0)], p.shapes[out(n)]
	if p.channels(n.In(0)) == 0 || p.channels(out(n)) == 0 || x[0] != y[0] {
		return barrier
	}
	if l := p.layers[n]; l != nil {
		switch {
		case l.channels() != int(x[1]) || l.outputs != int(y[1]):
		case l.groups == 1:
			return mixes
		case l.inputs == 1 && l.outputs == l.groups:
			return depthwise
		}
		return barrier
	}
	if is(n, "Add") && p.weights[n.In(0)] == nil && p.weights[n.In(1)] == nil {
		if slices.Equal(x, p.shapes[n.In(1)]) {
			return adds
		}
		return barrier
	}
	if a, ok := p.affine(n); ok && a.x == n.In(0) {
		return keeps
	}
	switch {
	case x[1] == y[1] && (p.homogeneous(n) || p.clips(n) || is(n, "Squeeze", "Unsqueeze")):
		return keeps
	case is(n, "Flatten", "Reshape") && len(y) == 2 && int(y[1]) == int(x[1])*spatial(x):
		return flattens
	}
	return barrier
}

// fixed reports whether the node takes and yields all channels come what may.
func (p *pruner) fixed(n *onnx.NodeProto) bool {
	return !p.own[n] || p.role(n) == barrier || p.layers[n] != nil && !p.copy && len(p.readers[n.In(1)]) > 1
}

// channels is the number of channels of a tensor, 0 where that is not known.
func (p *pruner) channels(t string) int {
	if s := p.shapes[t]; len(s) >= 2 && p.weights[t] == nil {
		return int(s[1])
	}
	return 0
}

// reads are the input channels with a weight other than 0 to an output.
func (l *layer) reads(output int) []int {
	var list []int
	for i := range l.inputs {
		at := l.at(output, i)
		if slices.ContainsFunc(l.w[at:at+l.inner], func(w float32) bool { return w != 0 }) {
			list = append(list, l.channel(output, i))
		}
	}
	return list
}

// findNeeds follows what outputs depend on backward.
func (p *pruner) findNeeds() {
	for t := range p.outputs {
		p.needAll(t)
	}
	for _, n := range slices.Backward(p.order) {
		switch p.role(n) {
		case mixes, depthwise:
			x := p.lives(n.In(0))
			for o, need := range p.lives(out(n)) {
				if need {
					for _, c := range p.varying(n, o) {
						x[c] = true
					}
				}
			}
		case keeps, adds, flattens:
			p.tie(n)
		default:
			for _, in := range n.GetInput() {
				p.needAll(in)
			}
		}
	}
}

// varying are the input channels that a layer's output depends on, but for constants that its bias can
// take in.
func (p *pruner) varying(n *onnx.NodeProto, output int) []int {
	l, x := p.layers[n], p.values(n.In(0))
	return slices.DeleteFunc(l.reads(output), func(c int) bool { return x[c] == 0 || l.exact && x[c] == x[c] })
}

func (p *pruner) lives(t string) []bool {
	if p.live[t] == nil {
		p.live[t] = make([]bool, p.channels(t))
	}
	return p.live[t]
}

func (p *pruner) needAll(t string) {
	for c := range p.lives(t) {
		p.live[t][c] = true
	}
}
