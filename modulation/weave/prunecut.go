package weave

import (
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// ties are the inputs of a node whose channels are those of its output. A tensor that has to stay is
// none of them: the node gathers what it wants of it.
func (p *pruner) ties(n *onnx.NodeProto) []string {
	inputs := n.GetInput()[:1]
	if p.role(n) == adds {
		inputs = n.GetInput()[:2]
	}
	if !p.own[n] {
		return inputs
	}
	return slices.DeleteFunc(slices.Clone(inputs), p.stays)
}

// stays reports whether a tensor keeps all channels because other outputs need what yields it.
func (p *pruner) stays(t string) bool { return p.made[t] != nil && !p.own[p.made[t]] }

// tie passes what stays of a node's output on to its inputs and reports whether that was news.
func (p *pruner) tie(n *onnx.NodeProto) bool {
	news := false
	y := p.lives(out(n))
	for _, in := range p.ties(n) {
		x := p.lives(in)
		per := len(y) / len(x)
		for c, stays := range y {
			if stays && !x[c/per] {
				x[c/per], news = true, true
			}
		}
	}
	return news
}

// untie passes what stays of a node's inputs on to its output and reports whether that was news.
func (p *pruner) untie(n *onnx.NodeProto) bool {
	news := false
	y := p.lives(out(n))
	for _, in := range p.ties(n) {
		x := p.lives(in)
		per := len(y) / len(x)
		for c := range y {
			if x[c/per] && !y[c] {
				y[c], news = true, true
			}
		}
	}
	return news
}

// settle turns what is needed into what stays: also all that shared nodes, barriers and outputs want, and
// the same channels on both sides of a node that keeps them.
func (p *pruner) settle() {
	for t, live := range p.live {
		n := p.made[t]
		free := n != nil && !p.fixed(n) && !p.outputs[t]
		for c := range live {
			live[c] = live[c] || !free
		}
	}
	for _, n := range p.order {
		if p.fixed(n) && p.own[n] {
			for _, in := range n.GetInput() {
				p.needAll(in)
			}
		}
	}
	p.spread()
	for _, n := range p.order {
		if !p.fixed(n) && p.role(n) != flattens && p.roundUp(p.lives(out(n))) {
			p.spread() // before the next layer of the same sum is asked
		}
	}
}

// spread makes the channels on both sides of nodes that keep them the same.
func (p *pruner) spread() {
	for changed := true; changed; {
		changed = false
		for _, n := range p.order {
			if r := p.role(n); r == keeps || r == adds || r == flattens || r == depthwise {
				tied, untied := p.tie(n), p.untie(n)
				changed = changed || tied || untied
			}
		}
	}
}

// roundUp lets dead channels stay until their number fits, and at least one. It reports whether it let
// any.
func (p *pruner) roundUp(live []bool) bool {
	had := count(live)
	want := count(live)
	if want = max(want, 1); want%p.multiple != 0 {
		want += p.multiple - want%p.multiple
	}
	for c, n := 0, had; c < len(live) && n < want; c++ {
		if !live[c] {
			live[c], n = true, n+1
		}
	}
	return had < min(want, len(live))
}

func count(set []bool) int {
	n := 0
	for _, in := range set {
		if in {
			n++
		}
	}
	return n
}

// members are the numbers of the channels in a set.
func members(set []bool) []int {
	var list []int
	for c, in := range set {
		if in {
			list = append(list, c)
		}
	}
	return list
}

// cut rewrites the nodes that may change for the channels that stay.
func (p *pruner) cut() {
	for _, n := range p.order {
		if p.fixed(n) {
			continue
		}
		stay := members(p.lives(out(n)))
		switch p.role(n) {
		case mixes:
			p.cutLayer(n, stay)
			continue
		case depthwise:
			p.cutDepthwise(n, stay)
		case flattens:
			if len(stay) < p.channels(out(n)) && is(n, "Reshape") {
				n.OpType, n.Attribute = new("Flatten"), []*onnx.AttributeProto{onnx.NewInt("axis", 1)}
				p.unread(n.In(1), n)
				n.Input = n.Input[:1]
			}
		}
		p.gatherInputs(n, stay)
		if p.role(n) == keeps {
			p.cutAffine(n, stay)
		}
	}
}

// gatherInputs picks the channels that a node keeps from tensors that have to stay whole.
func (p *pruner) gatherInputs(n *onnx.NodeProto, stay []int) {
	for i, t := range n.GetInput()[:min(len(n.GetInput()), 2)] {
		if (i == 0 || p.role(n) == adds) && p.stays(t) && len(stay) < p.channels(out(n)) {
			p.feed(n, i, p.gather(t, stay))
		}
	}
}

// cutLayer drops rows and columns of the layer's weights; its bias takes constants in.
func (p *pruner) cutLayer(n *onnx.NodeProto, outputs []int) {
	l := p.layers[n]
	there := members(p.lives(n.In(0)))
	inputs := p.wanted(n, outputs)
	if len(outputs) == l.outputs && len(inputs) == l.inputs {
		return
	}
	for o, c := range p.absorbed(n, inputs) {
		if l.b == nil {
			l.b = make([]float32, l.outputs)
		}
		l.b[o] = float32(float64(l.b[o]) + c)
	}
	if at := places(inputs, there); len(at) < len(there) {
		p.feed(n, 0, p.gather(n.In(0), at))
	}
	l.take(outputs, inputs)
}

// absorbed is what constant channels that a layer no longer reads contribute to each output.
func (p *pruner) absorbed(n *onnx.NodeProto, inputs []int) map[int]float64 {
	l, x := p.layers[n], p.values(n.In(0))
	sums := map[int]float64{}
	kept := make([]bool, l.inputs)
	for _, c := range inputs {
		kept[c] = true
	}
	for o := range l.outputs {
		for _, c := range l.reads(o) {
			if x[c] != 0 && !kept[c] && x[c] == x[c] {
				sums[o] += l.weight(o, c) * x[c]
			}
		}
	}
	return sums
}

// wanted are the channels that a layer reads for the outputs that stay, of those that are there: an
// output that only stays to make a number fit may do without some.
func (p *pruner) wanted(n *onnx.NodeProto, outputs []int) []int {
	there := p.lives(n.In(0))
	if p.made[n.In(0)] == nil { // the images
		return members(there)
	}
	reads := make([]bool, len(there))
	for _, o := range outputs {
		for _, c := range p.varying(n, o) {
			reads[c] = there[c]
		}
	}
	want := max(count(reads), 1)
	want += (p.multiple - want%p.multiple) % p.multiple
	for c, n := 0, count(reads); c < len(reads) && n < want; c++ {
		if there[c] && !reads[c] {
			reads[c], n = true, n+1
		}
	}
	return members(reads)
}

// places are the positions of some elements of a list, both in order.
func places(some, list []int) []int {
	var at []int
	for i, c := range list {
		if slices.Contains(some, c) {
			at = append(at, i)
		}
	}
	return at
}

// gather is a tensor with some of another's channels alone.
func (p *pruner) gather(t string, channels []int) string {
	y := p.fresh(t + "/some")
	p.shapes[y] = slices.Clone(p.shapes[t])
	p.shapes[y][1] = int64(len(channels))
	index := p.fresh(y + "/index")
	values := make([]int64, len(channels))
	for i, c := range channels {
		values[i] = int64(c)
	}
	p.weights[index] = onnx.NewInts(index, []int64{int64(len(values))}, values)
	p.insert(onnx.NewNode("Gather", []string{t, index}, []string{y}, onnx.NewInt("axis", 1)))
	return y
}

// take leaves some outputs and inputs of a layer of one group.
func (l *layer) take(outputs, inputs []int) {
	dims := slices.Clone(l.d.weights[l.n.In(1)].GetDims())
	small := *l
	small.outputs, small.inputs = len(outputs), len(inputs)
	small.w = make([]float32, len(outputs)*len(inputs)*l.inner)
	for o, from := range outputs {
		for i, c := range inputs {
			copy(small.w[small.at(o, i):][:l.inner], l.w[l.at(from, c):])
		}
	}
	small.b = some(l.b, outputs)
	if dims[0], dims[1] = int64(len(outputs)), int64(len(inputs)); l.across {
		dims[0], dims[1] = dims[1], dims[0]
	}
	small.saveAs(dims)
}

// some are the elements at the given places; nil of nil.
func some(x []float32, at []int) []float32 {
	if x == nil {
		return nil
	}
	y := make([]float32, len(at))
	for i, k := range at {
		y[i] = x[k]
	}
	return y
}

func (p *pruner) cutDepthwise(n *onnx.NodeProto, stay []int) {
	l := p.layers[n]
	if len(stay) == l.outputs {
		return
	}
	small := *l
	small.w = nil
	for _, c := range stay {
		small.w = append(small.w, l.w[l.at(c, 0):][:l.inner]...)
	}
	small.b = some(l.b, stay)
	n.Attribute = append(slices.DeleteFunc(slices.Clone(n.GetAttribute()), func(a *onnx.AttributeProto) bool { return a.GetName() == "group" }),
		onnx.NewInt("group", int64(len(stay))))
	dims := slices.Clone(p.weights[n.In(1)].GetDims())
	dims[0] = int64(len(stay))
	small.saveAs(dims)
}

// cutAffine drops the constants of channels that are gone.
func (p *pruner) cutAffine(n *onnx.NodeProto, stay []int) {
	a, ok := p.affine(n)
	if !ok || len(stay) == len(a.scale) {
		return
	}
	pick := func(v []float64) []float64 {
		if v == nil {
			return nil
		}
		w := make([]float64, len(stay))
		for i, c := range stay {
			w[i] = v[c]
		}
		return w
	}
	p.put(n, affine{a.x, pick(a.scale), pick(a.shift)})
}
