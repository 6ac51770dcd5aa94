package autodiff

import (
	"github.com/facet-search/facet/modulation/train/dnnl"
	"github.com/facet-search/facet/modulation/train/network"
)

// value is a parameter as kernels read it: copied, rectified, or multiplied with a modulation's
// scales. The parameter itself stays in Go's memory.
type value struct {
	param   *network.Param
	scale   *network.Param // folded onto the input channels; nil for none
	layer   layer
	rectify bool // the parameter is a scale: kernels see ReLU(s)
	plain   *dnnl.Memory
	copies  []*dnnl.Memory // in the layouts that kernels chose; prepare fills them
}

// layer is how weights are laid out: [groups·outputs, inputs, inner] with outputs and inputs counted
// in a group.
type layer struct{ groups, outputs, inputs, inner int }

type valueKey struct{ param, scale *network.Param }

// value returns the engine's copy of a parameter with the given dimensions.
func (c *compiler) value(p, scale *network.Param, l layer, dims ...int) (*value, error) {
	key := valueKey{p, scale}
	if v, ok := c.cache[key]; ok {
		return v, nil
	}
	m, err := c.engine.Alloc(dnnl.Plain(dims...))
	if err != nil {
		return nil, err
	}
	v := &value{param: p, scale: scale, layer: l, rectify: p.Role == network.Scale, plain: m}
	c.cache[key] = v
	c.values = append(c.values, v)
	return v, nil
}

// vector is the value of a parameter with one number a channel.
func (c *compiler) vector(s *step, role network.Role, task int) (*value, error) {
	p := c.net.Of(c.params, s.Name, role, task)
	return c.value(p, nil, layer{}, len(p.Data))
}

// as is the value in a layout of a kernel's choice.
func (c *compiler) as(v *value, want dnnl.Desc) (*dnnl.Memory, error) {
	if v.plain.Equal(want) {
		return v.plain, nil
	}
	for _, m := range v.copies {
		if m.Equal(want) {
			return m, nil
		}
	}
	m, err := c.arrange(c.prepare, v.plain, want, keep)
	v.copies = append(v.copies, m)
	return m, err
}

// load copies the parameter's present value into the engine's memory.
func (v *value) load() {
	dst := v.plain.Floats()
	switch {
	case v.rectify:
		for i, s := range v.param.Data {
			dst[i] = max(s, 0)
		}
	case v.scale == nil:
		copy(dst, v.param.Data)
	default:
		v.layer.rows(func(channel, lo, hi int) {
			s := max(v.scale.Data[channel], 0)
			w, to := v.param.Data[lo:hi], dst[lo:hi]
			for i := range w {
				to[i] = w[i] * s
			}
		})
	}
}

// rows calls do with every input channel and the range of weights that read it, once an output.
func (l layer) rows(do func(channel, lo, hi int)) {
	at := 0
	for g := range l.groups {
		for range l.outputs {
			for i := range l.inputs {
				do(g*l.inputs+i, at, at+l.inner)
				at += l.inner
			}
		}
	}
}

// gradient is the gradient of the loss with respect to a value, of one run of a node.
type gradient struct {
	of  *value
	mem *dnnl.Memory // plain
}

// gradient returns memory in which a kernel is to leave the gradient of v, and what must follow.
func (c *compiler) gradient(v *value, want dnnl.Desc) (mem *dnnl.Memory, then func() error, err error) {
	plain, err := c.engine.Alloc(v.plain.Desc)
	if err != nil {
		return nil, nil, err
	}
	c.gradients = append(c.gradients, &gradient{v, plain})
	for _, p := range []*network.Param{v.param, v.scale} {
		if p != nil && !p.Frozen && c.grads[p] == nil {
			c.grads[p] = make([]float32, len(p.Data))
		}
	}
	if plain.Equal(want) {
		return plain, func() error { return nil }, nil
	}
	m, err := c.temp(want)
	return m, func() error { return c.reorder(c.backward, m, plain) }, err
}

// collect adds the gradient to those of the parameters behind the value. With weights W·s, dW is
// dW'·s and ds is Σ dW'·W, as long as s > 0.
func (g *gradient) collect(grads map[*network.Param][]float32) {
	v, d := g.of, g.mem.Floats()
	dw := grads[v.param]
	switch {
	case v.rectify:
		for i := range dw {
			if v.param.Data[i] > 0 {
				dw[i] += d[i]
			}
		}
	case v.scale == nil:
		for i := range dw {
			dw[i] += d[i]
		}
	default:
		v.layer.rows(func(channel, lo, hi int) {
			v.unfold(channel, d[lo:hi], lo, dw, grads[v.scale])
		})
	}
}

func (v *value) unfold(channel int, d []float32, at int, dw, ds []float32) {
	s := v.scale.Data[channel]
	if s <= 0 {
		return
	}
	if dw != nil {
		for i, g := range d {
			dw[at+i] += g * s
		}
	}
	if ds != nil {
		var sum float32
		for i, w := range v.param.Data[at : at+len(d)] {
			sum += d[i] * w
		}
		ds[channel] += sum
	}
}

// chooseFolds finds the modulations that are cheaper multiplied into weights.
func (c *compiler) chooseFolds() {
	if c.opt.Fold == FoldNever {
		return
	}
	for _, n := range c.net.Nodes {
		if _, ok := n.Op.(network.Modulation); ok && c.foldable(n) {
			c.folded[n.Name] = n.Name
		}
	}
}

// foldable compares the values moved: folding reads and writes all weights some three times a task
// and step (scale, rearrange, unfold), scaling passes over the activations twice.
func (c *compiler) foldable(n network.Node) bool {
	readers := c.readers[n.Name]
	if len(readers) == 0 {
		return false
	}
	weights := 0
	for _, i := range readers {
		r := c.net.Nodes[i]
		switch r.Op.(type) {
		case network.Conv, network.Dense:
			weights += len(c.net.Of(c.params, r.Name, network.Weight, 0).Data)
		default:
			return false
		}
	}
	activations := c.opt.Batch * c.shapes[n.Name].Size()
	return c.opt.Fold == FoldAlways || 3*weights < 2*activations
}

// scaleOf is the modulation folded into the layer's weights, or nil.
func (c *compiler) scaleOf(s *step, task int) *network.Param {
	if m, ok := c.folded[s.Inputs[0]]; ok {
		return c.net.Of(c.params, m, network.Scale, task)
	}
	return nil
}
