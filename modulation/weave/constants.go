package weave

import (
	"math"
	"slices"

	"github.com/facet-search/facet/modulation/onnx"
)

// findConstants follows channels that have one value for every image and position from weights, biases
// and scales forward.
func (p *pruner) findConstants() {
	for _, n := range p.order {
		p.known[out(n)] = p.constants(n)
	}
}

// values are what is known of a tensor's channels: NaN for those that vary.
func (p *pruner) values(t string) []float64 {
	if p.known[t] == nil {
		p.known[t] = slices.Repeat([]float64{math.NaN()}, p.channels(t))
	}
	return p.known[t]
}

func (p *pruner) constants(n *onnx.NodeProto) []float64 {
	x := p.values(n.In(0))
	switch p.role(n) {
	case mixes, depthwise:
		return p.layers[n].constants(x)
	case keeps:
		return p.kept(n, x)
	case adds:
		y := slices.Clone(x)
		for c, v := range p.values(n.In(1)) {
			y[c] += v
		}
		return y
	case flattens:
		y := make([]float64, p.channels(out(n)))
		for c := range y {
			y[c] = x[c/(len(y)/len(x))]
		}
		return y
	}
	return p.values(out(n))
}

// kept is what becomes of constants in a node that keeps channels.
func (p *pruner) kept(n *onnx.NodeProto, x []float64) []float64 {
	if a, ok := p.affine(n); ok {
		y := slices.Clone(x)
		for c := range y {
			if a.scale[c] == 0 {
				y[c] = 0
			}
			y[c] *= a.scale[c]
			if a.shift != nil {
				y[c] += a.shift[c]
			}
		}
		return y
	}
	low, high := p.bounds(n)
	return apply(x, func(v float64) float64 {
		switch {
		case is(n, "Relu", "Clip"):
			return min(max(v, low), high)
		case is(n, "LeakyRelu") && v < 0, is(n, "AveragePool") && v != 0 && !p.unpadded(n):
			return math.NaN()
		}
		return v
	})
}

// bounds are those of a Relu or Clip whose bounds are constant.
func (p *pruner) bounds(n *onnx.NodeProto) (low, high float64) {
	low, high = math.Inf(-1), math.Inf(1)
	if is(n, "Relu") {
		return 0, high
	}
	if v := p.floats(n.In(1)); is(n, "Clip") && len(v) == 1 {
		low = float64(v[0])
	}
	if v := p.floats(n.In(2)); is(n, "Clip") && len(v) == 1 {
		high = float64(v[0])
	}
	return low, high
}

// clips reports whether the node is a Clip whose bounds are constant.
func (p *pruner) clips(n *onnx.NodeProto) bool {
	return is(n, "Clip") && (n.In(1) == "" || len(p.floats(n.In(1))) == 1) && (n.In(2) == "" || len(p.floats(n.In(2))) == 1)
}

// constants are the outputs all of whose inputs are constant, which padding must not disturb.
func (l *layer) constants(x []float64) []float64 {
	y := make([]float64, l.outputs)
	for o := range y {
		if l.b != nil {
			y[o] = float64(l.b[o])
		}
		for _, c := range l.reads(o) {
			if y[o] += l.weight(o, c) * x[c]; x[c] != 0 && !l.exact {
				y[o] = math.NaN()
			}
		}
	}
	return y
}

// weight is the sum of the weights from an input channel to an output of its group.
func (l *layer) weight(output, channel int) float64 {
	at := l.at(output, channel%l.inputs)
	sum := 0.0
	for _, w := range l.w[at : at+l.inner] {
		sum += float64(w)
	}
	return sum
}
