package autodiff

import (
	"github.com/facet-search/facet/modulation/train/dnnl"
	"github.com/facet-search/facet/modulation/train/network"
)

// chooseFusions finds the ReLUs that a BatchNorm can apply on its way.
func (c *compiler) chooseFusions() {
	for _, n := range c.net.Nodes {
		if _, ok := n.Op.(network.BatchNorm); !ok || len(c.readers[n.Name]) != 1 {
			continue
		}
		next := c.net.Nodes[c.readers[n.Name][0]]
		if relu, ok := next.Op.(network.ReLU); ok && relu.Top == 0 {
			c.fused[next.Name] = true
		}
	}
}

// fusedReLU reports whether the BatchNorm of the step applies the ReLU that follows.
func (c *compiler) fusedReLU(s *step) bool {
	r := c.readers[s.Name]
	return len(r) == 1 && c.fused[c.net.Nodes[r[0]].Name]
}

func (c *compiler) relu(s *step, op network.ReLU) (func() error, error) {
	x := s.in[0]
	if c.fused[s.Name] {
		x.readers = s.out.readers
		s.out = x
		return nil, nil
	}
	k, err := c.engine.ReLUForward(op.Top, x.mem.Desc)
	if err != nil {
		return nil, err
	}
	if s.expendable(0) {
		s.out.mem = x.mem
	} else if err := c.place(s, x.mem.Desc); err != nil {
		return nil, err
	}
	s.out.kept = true
	if err := c.forward.Append(k, dnnl.Args{dnnl.Src: x.mem, dnnl.Dst: s.out.mem}); err != nil {
		return nil, err
	}
	return func() error {
		back, err := c.engine.ReLUBackward(op.Top, s.out.mem.Desc, k)
		if err != nil {
			return err
		}
		return c.reluBackward(s, back)
	}, nil
}

func (c *compiler) reluBackward(s *step, k *dnnl.Kernel) error {
	dy, err := c.arrange(c.backward, s.out.grad.mem, s.out.mem.Desc, pass)
	if err != nil {
		return err
	}
	var dx *grad
	if g := s.out.grad; g.exclusive() && dy == g.mem {
		dx = g.share()
	} else if dx, err = c.newGrad(s.in[0].rows, dy.Desc); err != nil {
		return err
	}
	if err := c.backward.Append(k, dnnl.Args{dnnl.Dst: s.out.mem, dnnl.DiffDst: dy, dnnl.DiffSrc: dx.mem}); err != nil {
		return err
	}
	return c.contribute(s.in[0], dx)
}

func (c *compiler) add(s *step) (func() error, error) {
	a, b := s.in[0], s.in[1]
	if !s.expendable(0) && s.expendable(1) {
		a, b = b, a
	}
	part, err := a.mem.WithRows(s.parts[0].n)
	if err != nil {
		return nil, err
	}
	if a == s.in[0] && s.expendable(0) || a == s.in[1] && s.expendable(1) {
		s.out.mem = a.mem
	} else if err := c.place(s, part); err != nil {
		return nil, err
	}
	k, err := c.engine.Add(part)
	if err != nil {
		return nil, err
	}
	for _, p := range s.parts {
		if err := c.addPart(s, k, p, a, b); err != nil {
			return nil, err
		}
	}
	return func() error {
		for _, t := range s.in {
			if !t.learns {
				continue
			}
			if err := c.contribute(t, s.out.grad.share()); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

func (c *compiler) addPart(s *step, k *dnnl.Kernel, p part, a, b *tensor) error {
	x, err := s.view(a.mem, a, p)
	if err != nil {
		return err
	}
	y, err := s.view(b.mem, b, p)
	if err != nil {
		return err
	}
	if y, err = c.arrange(c.forward, y, x.Desc, pass); err != nil {
		return err
	}
	dst, err := s.view(s.out.mem, s.out, p)
	if err != nil {
		return err
	}
	return c.forward.Append(k, dnnl.Args{dnnl.Src: x, dnnl.Src1: y, dnnl.Dst: dst})
}

// flatten views a plain copy of its input as vectors.
func (c *compiler) flatten(s *step) (func() error, error) {
	x := s.in[0]
	plain, err := c.arrange(c.forward, x.mem, x.mem.Plain(), keep)
	if err != nil {
		return nil, err
	}
	s.out.kept = true // it may be its input's memory
	if s.out.mem, err = plain.As(dnnl.Plain(s.out.dims(s.out.rows)...)); err != nil {
		return nil, err
	}
	return func() error {
		g := s.out.grad
		dx := g
		if !g.mem.IsPlain() {
			if dx, err = c.newGrad(s.out.rows, g.mem.Plain()); err != nil {
				return err
			}
			if err := c.reorder(c.backward, g.mem, dx.mem); err != nil {
				return err
			}
		} else {
			dx = g.share()
		}
		m, err := dx.mem.As(plain.Desc)
		if err != nil {
			return err
		}
		return c.contribute(x, &grad{m, dx.on})
	}, nil
}

func (c *compiler) pooling(s *step, kind dnnl.Pooling, w dnnl.Window) (func() error, error) {
	x := s.in[0]
	k, err := c.engine.PoolForward(kind, w, x.mem.Desc, dnnl.Any(s.out.dims(s.out.rows)...))
	if err != nil {
		return nil, err
	}
	if err := c.place(s, k.Desc(dnnl.Dst)); err != nil {
		return nil, err
	}
	args := dnnl.Args{dnnl.Src: x.mem, dnnl.Dst: s.out.mem}
	var workspace *dnnl.Memory
	if ws := k.Desc(dnnl.Workspace); ws.Bytes() > 0 {
		if workspace, err = c.engine.Alloc(ws); err != nil {
			return nil, err
		}
		args[dnnl.Workspace] = workspace
	}
	if err := c.forward.Append(k, args); err != nil {
		return nil, err
	}
	return func() error { return c.poolingBackward(s, kind, w, k, workspace) }, nil
}

func (c *compiler) poolingBackward(s *step, kind dnnl.Pooling, w dnnl.Window, forward *dnnl.Kernel, workspace *dnnl.Memory) error {
	x := s.in[0]
	k, err := c.engine.PoolBackward(kind, w, x.mem.Desc, s.out.mem.Desc, forward)
	if err != nil {
		return err
	}
	dy, err := c.arrange(c.backward, s.out.grad.mem, k.Desc(dnnl.DiffDst), pass)
	if err != nil {
		return err
	}
	dx, err := c.newGrad(x.rows, k.Desc(dnnl.DiffSrc))
	if err != nil {
		return err
	}
	args := dnnl.Args{dnnl.DiffDst: dy, dnnl.DiffSrc: dx.mem}
	if workspace != nil {
		args[dnnl.Workspace] = workspace
	}
	if err := c.backward.Append(k, args); err != nil {
		return err
	}
	return c.contribute(x, dx)
}
