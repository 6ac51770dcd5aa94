package autodiff

import (
	"github.com/facet-search/facet/modulation/train/dnnl"
	"github.com/facet-search/facet/modulation/train/network"
)

// linear is a convolution or dense layer while it is compiled. All parts have one shape, so they
// share their kernels.
type linear struct {
	*step
	layer   layer
	dims    []int // of the weights, as kernels see them
	flat    bool  // kernels see the output as [N, O]
	bias    bool
	forward *dnnl.Kernel
	data    func(diffSrc, weights, diffDst dnnl.Desc) (*dnnl.Kernel, error)
	weights func(src, diffWeights, diffBias, diffDst dnnl.Desc) (*dnnl.Kernel, error)
	values  []*value       // weights of each part
	biases  []*value       // of each part; nil without
	sources []*dnnl.Memory // of each part, as the forward kernel read them
}

func (c *compiler) conv(s *step, op network.Conv) (func() error, error) {
	x, groups := s.in[0].shape, max(op.Groups, 1)
	l := &linear{step: s, bias: op.Bias}
	l.layer = layer{groups, op.Out / groups, x[0] / groups, op.Kernel[0] * op.Kernel[1]}
	l.dims = []int{op.Out, x[0], op.Kernel[0], op.Kernel[1]}
	if groups > 1 {
		l.dims = []int{groups, l.layer.outputs, l.layer.inputs, op.Kernel[0], op.Kernel[1]}
	}
	w := window(op.Window)
	l.data = func(diffSrc, weights, diffDst dnnl.Desc) (*dnnl.Kernel, error) {
		return c.engine.ConvBackwardData(w, diffSrc, weights, diffDst, l.forward)
	}
	l.weights = func(src, diffWeights, diffBias, diffDst dnnl.Desc) (*dnnl.Kernel, error) {
		return c.engine.ConvBackwardWeights(w, src, diffWeights, diffBias, diffDst, l.forward)
	}
	src, dst := dnnl.Any(s.in[0].dims(s.parts[0].n)...), dnnl.Any(s.out.dims(s.parts[0].n)...)
	var err error
	l.forward, err = c.engine.ConvForward(w, src, dnnl.Any(l.dims...), l.biasDesc(op.Out), dst)
	if err != nil {
		return nil, err
	}
	if err := c.place(s, l.forward.Desc(dnnl.Dst)); err != nil {
		return nil, err
	}
	return c.linear(l)
}

func (c *compiler) dense(s *step, op network.Dense) (func() error, error) {
	x := s.in[0].shape
	l := &linear{step: s, bias: op.Bias, flat: true}
	l.layer = layer{1, op.Out, x[0], x[1] * x[2]}
	l.dims = []int{op.Out, x[0], x[1], x[2]}
	l.data = func(diffSrc, weights, diffDst dnnl.Desc) (*dnnl.Kernel, error) {
		return c.engine.DenseBackwardData(diffSrc, weights, diffDst, l.forward)
	}
	l.weights = func(src, diffWeights, diffBias, diffDst dnnl.Desc) (*dnnl.Kernel, error) {
		return c.engine.DenseBackwardWeights(src, diffWeights, diffBias, diffDst, l.forward)
	}
	n := s.parts[0].n
	src, dst := dnnl.Any(s.in[0].dims(n)...), dnnl.Plain(n, op.Out)
	var err error
	l.forward, err = c.engine.DenseForward(src, dnnl.Any(l.dims...), l.biasDesc(op.Out), dst)
	if err != nil {
		return nil, err
	}
	if err := c.place(s, dnnl.Plain(n, op.Out, 1, 1)); err != nil {
		return nil, err
	}
	return c.linear(l)
}

func (l *linear) biasDesc(out int) dnnl.Desc {
	if !l.bias {
		return dnnl.Desc{}
	}
	return dnnl.Plain(out)
}

// outDesc is what backward kernels are told of the output's gradient: to choose a layout, or plain.
func (l *linear) outDesc() dnnl.Desc {
	if l.flat {
		return l.forward.Desc(dnnl.Dst)
	}
	return l.forward.Desc(dnnl.Dst).Any()
}

// output views a part of the output's memory as kernels see it.
func (l *linear) output(m *dnnl.Memory, p part) (*dnnl.Memory, error) {
	v, err := l.view(m, l.out, p)
	if err != nil || !l.flat {
		return v, err
	}
	return v.As(dnnl.Plain(v.Dims()[:2]...))
}

func (c *compiler) linear(l *linear) (func() error, error) {
	for _, p := range l.parts {
		if err := c.linearForward(l, p); err != nil {
			return nil, err
		}
	}
	return func() error { return c.linearBackward(l) }, nil
}

func (c *compiler) linearForward(l *linear, p part) error {
	param := c.net.Of(c.params, l.Name, network.Weight, p.task)
	v, err := c.value(param, c.scaleOf(l.step, p.task), l.layer, l.dims...)
	if err != nil {
		return err
	}
	src, err := l.view(l.in[0].mem, l.in[0], p)
	if err != nil {
		return err
	}
	life := lifetime(c.training)
	if src, err = c.arrange(c.forward, src, l.forward.Desc(dnnl.Src), life); err != nil {
		return err
	}
	w, err := c.as(v, l.forward.Desc(dnnl.Weights))
	if err != nil {
		return err
	}
	dst, err := l.output(l.out.mem, p)
	if err != nil {
		return err
	}
	args := dnnl.Args{dnnl.Src: src, dnnl.Weights: w, dnnl.Dst: dst}
	if l.bias {
		b, err := c.vector(l.step, network.Bias, p.task)
		if err != nil {
			return err
		}
		l.biases = append(l.biases, b)
		args[dnnl.Bias] = b.plain
	}
	l.values, l.sources = append(l.values, v), append(l.sources, src)
	return c.forward.Append(l.forward, args)
}

func (c *compiler) linearBackward(l *linear) error {
	dy := l.out.grad.mem
	if l.flat {
		var err error
		if dy, err = c.arrange(c.backward, dy, dy.Plain(), pass); err != nil {
			return err
		}
	}
	if l.teaches() {
		if err := c.linearWeights(l, dy); err != nil {
			return err
		}
	}
	if !l.in[0].learns {
		return nil
	}
	return c.linearData(l, dy)
}

// teaches reports whether any parameter behind the weights is trained.
func (l *linear) teaches() bool {
	for i, v := range l.values {
		if !v.param.Frozen || v.scale != nil && !v.scale.Frozen || l.bias && !l.biases[i].param.Frozen {
			return true
		}
	}
	return false
}

func (c *compiler) linearWeights(l *linear, dy *dnnl.Memory) error {
	bias := l.biasDesc(l.layer.groups * l.layer.outputs)
	k, err := l.weights(l.forward.Desc(dnnl.Src).Any(), dnnl.Any(l.dims...), bias, l.outDesc())
	if err != nil {
		return err
	}
	for i, p := range l.parts {
		diff, err := l.output(dy, p)
		if err != nil {
			return err
		}
		if diff, err = c.arrange(c.backward, diff, k.Desc(dnnl.DiffDst), pass); err != nil {
			return err
		}
		src, err := c.arrange(c.backward, l.sources[i], k.Desc(dnnl.Src), pass)
		if err != nil {
			return err
		}
		dw, then, err := c.gradient(l.values[i], k.Desc(dnnl.DiffWeights))
		if err != nil {
			return err
		}
		args := dnnl.Args{dnnl.Src: src, dnnl.DiffDst: diff, dnnl.DiffWeights: dw}
		if l.bias {
			if args[dnnl.DiffBias], _, err = c.gradient(l.biases[i], k.Desc(dnnl.DiffBias)); err != nil {
				return err
			}
		}
		if err := c.backward.Append(k, args); err != nil {
			return err
		}
		if err := then(); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) linearData(l *linear, dy *dnnl.Memory) error {
	k, err := l.data(l.forward.Desc(dnnl.Src).Any(), dnnl.Any(l.dims...), l.outDesc())
	if err != nil {
		return err
	}
	dx, err := c.newGrad(l.out.rows, k.Desc(dnnl.DiffSrc))
	if err != nil {
		return err
	}
	for i, p := range l.parts {
		diff, err := l.output(dy, p)
		if err != nil {
			return err
		}
		if diff, err = c.arrange(c.backward, diff, k.Desc(dnnl.DiffDst), pass); err != nil {
			return err
		}
		w, err := c.as(l.values[i], k.Desc(dnnl.Weights))
		if err != nil {
			return err
		}
		to, err := l.own(dx.mem, p)
		if err != nil {
			return err
		}
		if err := c.backward.Append(k, dnnl.Args{dnnl.DiffDst: diff, dnnl.Weights: w, dnnl.DiffSrc: to}); err != nil {
			return err
		}
	}
	return c.contribute(l.in[0], dx)
}
