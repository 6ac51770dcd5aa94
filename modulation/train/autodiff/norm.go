package autodiff

import (
	"github.com/facet-search/facet/modulation/train/dnnl"
	"github.com/facet-search/facet/modulation/train/network"
)

// norm is a batch normalisation while it is compiled, or a modulation: a normalisation by a mean of 0
// and a deviation of 1 multiplies each channel with its gain, and its backward pass sums the gain's
// gradient in the activations' own layout.
type norm struct {
	*step
	spec    dnnl.Norm
	forward *dnnl.Kernel
	runs    []normRun
}

// normRun is one part of a norm.
type normRun struct {
	src, mean, variance, workspace *dnnl.Memory
	gain, shift                    *value // shift is nil for modulations
}

func (c *compiler) batchNorm(s *step, op network.BatchNorm) (func() error, error) {
	given := !c.training || s.Frozen
	n := &norm{step: s, spec: dnnl.Norm{Eps: op.Epsilon(), Given: given, Gain: true, Shift: true, ReLU: c.fusedReLU(s)}}
	return c.norm(n, func(p part) (normRun, error) {
		r := normRun{}
		var err error
		if r.gain, err = c.vector(s, network.Gain, p.task); err != nil {
			return r, err
		}
		if r.shift, err = c.vector(s, network.Shift, p.task); err != nil {
			return r, err
		}
		if given {
			return r, c.givenStats(s, p, &r)
		}
		return r, c.batchStats(s, op, p, &r)
	})
}

// givenStats makes the run read its running statistics.
func (c *compiler) givenStats(s *step, p part, r *normRun) error {
	mean, err := c.vector(s, network.RunningMean, p.task)
	if err != nil {
		return err
	}
	variance, err := c.vector(s, network.RunningVar, p.task)
	if err != nil {
		return err
	}
	r.mean, r.variance = mean.plain, variance.plain
	return nil
}

// batchStats makes the run compute its statistics and keep account of them.
func (c *compiler) batchStats(s *step, op network.BatchNorm, p part, r *normRun) error {
	var err error
	if r.mean, err = c.engine.Alloc(dnnl.Plain(s.out.shape[0])); err != nil {
		return err
	}
	if r.variance, err = c.engine.Alloc(r.mean.Desc); err != nil {
		return err
	}
	c.running = append(c.running, &runningStats{
		mean: r.mean, variance: r.variance, rate: op.Rate(), values: p.n * s.out.shape[1] * s.out.shape[2],
		runMean: c.net.Of(c.params, s.Name, network.RunningMean, p.task),
		runVar:  c.net.Of(c.params, s.Name, network.RunningVar, p.task),
	})
	return nil
}

// modulation scales channels, unless the layers that read it do.
func (c *compiler) modulation(s *step) (func() error, error) {
	if _, ok := c.folded[s.Name]; ok {
		s.in[0].readers += s.out.readers - 1
		s.out = s.in[0]
		return nil, nil
	}
	zero, err := c.engine.Alloc(dnnl.Plain(s.out.shape[0]))
	if err != nil {
		return nil, err
	}
	// Variance and epsilon of a half are a deviation of exactly 1. With an epsilon of 0, channels that
	// only fill up a kernel's block, whose variance it takes for 0, would come out as 0/0, and that
	// reaches the gradients of the others.
	half, err := c.engine.Alloc(zero.Desc)
	if err != nil {
		return nil, err
	}
	for i := range half.Floats() {
		half.Floats()[i] = 0.5
	}
	n := &norm{step: s, spec: dnnl.Norm{Eps: 0.5, Given: true, Gain: true}}
	return c.norm(n, func(p part) (normRun, error) {
		gain, err := c.vector(s, network.Scale, p.task)
		return normRun{mean: zero, variance: half, gain: gain}, err
	})
}

// norm compiles the forward runs of a norm; describe says what each of them works with.
func (c *compiler) norm(n *norm, describe func(part) (normRun, error)) (func() error, error) {
	x := n.in[0]
	data, err := x.mem.WithRows(n.parts[0].n)
	if err != nil {
		return nil, err
	}
	if n.forward, err = c.engine.NormForward(n.spec, data); err != nil {
		return nil, err
	}
	if err := c.place(n.step, data); err != nil {
		return nil, err
	}
	for _, p := range n.parts {
		r, err := describe(p)
		if err != nil {
			return nil, err
		}
		if r.src, err = n.view(x.mem, x, p); err != nil {
			return nil, err
		}
		if ws := n.forward.Desc(dnnl.Workspace); ws.Bytes() > 0 {
			if r.workspace, err = c.engine.Alloc(ws); err != nil {
				return nil, err
			}
		}
		dst, err := n.view(n.out.mem, n.out, p)
		if err != nil {
			return nil, err
		}
		args := r.args()
		args[dnnl.Dst] = dst
		if err := c.forward.Append(n.forward, args); err != nil {
			return nil, err
		}
		n.runs = append(n.runs, r)
	}
	return func() error { return c.normBackward(n) }, nil
}

// args are what forward and backward runs have in common.
func (r *normRun) args() dnnl.Args {
	a := dnnl.Args{dnnl.Src: r.src, dnnl.Mean: r.mean, dnnl.Variance: r.variance, dnnl.Gain: r.gain.plain}
	if r.shift != nil {
		a[dnnl.Shift] = r.shift.plain
	}
	if r.workspace != nil {
		a[dnnl.Workspace] = r.workspace
	}
	return a
}

func (c *compiler) normBackward(n *norm) error {
	x, data := n.in[0], n.runs[0].src.Desc
	k, err := c.engine.NormBackward(n.spec, data, n.forward)
	if err != nil {
		return err
	}
	dy, err := c.arrange(c.backward, n.out.grad.mem, n.out.mem.Desc, pass)
	if err != nil {
		return err
	}
	var dx *grad
	if g := n.out.grad; g.exclusive() && dy == g.mem {
		dx = g.share() // in place
	} else if dx, err = c.newGrad(n.out.rows, data); err != nil {
		return err
	}
	for i, p := range n.parts {
		if err := c.normRunBackward(n, k, i, p, dy, dx.mem); err != nil {
			return err
		}
	}
	if !x.learns {
		c.release(dx.on)
		return nil
	}
	return c.contribute(x, dx)
}

func (c *compiler) normRunBackward(n *norm, k *dnnl.Kernel, i int, p part, dy, dx *dnnl.Memory) error {
	r := &n.runs[i]
	args := r.args()
	var err error
	if args[dnnl.DiffDst], err = n.view(dy, n.out, p); err != nil {
		return err
	}
	if args[dnnl.DiffSrc], err = n.own(dx, p); err != nil {
		return err
	}
	if args[dnnl.DiffGain], _, err = c.gradient(r.gain, r.gain.plain.Desc); err != nil {
		return err
	}
	if r.shift != nil {
		if args[dnnl.DiffShift], _, err = c.gradient(r.shift, r.shift.plain.Desc); err != nil {
			return err
		}
	}
	return c.backward.Append(k, args)
}

// runningStats moves a layer's running statistics towards those of each batch, with the variance
// unbiased, as PyTorch has it.
type runningStats struct {
	mean, variance  *dnnl.Memory
	runMean, runVar *network.Param
	rate            float64
	values          int // that the statistics are taken over
}

func (r *runningStats) update() {
	unbias := float64(r.values) / float64(max(r.values-1, 1))
	mean, variance := r.mean.Floats(), r.variance.Floats()
	for i := range mean {
		mix(&r.runMean.Data[i], float64(mean[i]), r.rate)
		mix(&r.runVar.Data[i], float64(variance[i])*unbias, r.rate)
	}
}

func mix(old *float32, v, rate float64) { *old = float32((1-rate)*float64(*old) + rate*v) }
