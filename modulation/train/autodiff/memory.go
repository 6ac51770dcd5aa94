package autodiff

import (
	"github.com/facet-search/facet/modulation/train/dnnl"
)

// storage is a buffer of the backward pass that several gradients may share.
type storage struct {
	buffer *dnnl.Buffer
	refs   int
}

// grad is a tensor's gradient, or what is known of it so far.
type grad struct {
	mem *dnnl.Memory
	on  *storage
}

// take returns a buffer of at least that size: the smallest that is free and not wastefully large, or
// a new one. Its holder counts as one reference.
func (c *compiler) take(bytes int) (*storage, error) {
	best := -1
	for i, s := range c.pool {
		size := s.buffer.Bytes()
		if size >= bytes && size <= 4*bytes && (best < 0 || size < c.pool[best].buffer.Bytes()) {
			best = i
		}
	}
	if best >= 0 {
		s := c.pool[best]
		c.pool = append(c.pool[:best], c.pool[best+1:]...)
		s.refs = 1
		return s, nil
	}
	b, err := c.engine.Buffer(bytes)
	return &storage{b, 1}, err
}

func (c *compiler) release(s *storage) {
	if s.refs--; s.refs == 0 {
		c.pool = append(c.pool, s)
	}
}

// temp is memory until the end of the node being compiled.
func (c *compiler) temp(d dnnl.Desc) (*dnnl.Memory, error) {
	s, err := c.take(d.Bytes())
	if err != nil {
		return nil, err
	}
	c.temps = append(c.temps, s)
	return c.engine.Lay(d, s.buffer)
}

func (c *compiler) releaseTemps() {
	for _, s := range c.temps {
		c.release(s)
	}
	c.temps = c.temps[:0]
}

// newGrad is memory for a gradient of so many rows, in the layout of a part of them. The caller hands
// it to contribute or releases it.
func (c *compiler) newGrad(rows int, part dnnl.Desc) (*grad, error) {
	d, err := part.WithRows(rows)
	if err != nil {
		return nil, err
	}
	s, err := c.take(d.Bytes())
	if err != nil {
		return nil, err
	}
	m, err := c.engine.Lay(d, s.buffer)
	return &grad{m, s}, err
}

// share is another reference to the gradient, under the same layout.
func (g *grad) share() *grad {
	g.on.refs++
	return &grad{g.mem, g.on}
}

// exclusive reports whether nobody else looks at the gradient's memory, so that it may be overwritten.
func (g *grad) exclusive() bool { return g.on.refs == 1 }

// contribute adds g to the gradient of t and takes g's reference over. g may have the rows of t once
// for every task.
func (c *compiler) contribute(t *tensor, g *grad) error {
	if g.mem.Dims()[0] != t.rows {
		var err error
		if g, err = c.fold(t, g); err != nil {
			return err
		}
	}
	if t.grad == nil {
		t.grad = g
		return nil
	}
	sum, other := t.grad, g
	if !sum.exclusive() {
		sum, other = g, t.grad
	}
	target := sum
	if !sum.exclusive() {
		var err error
		if target, err = c.newGrad(t.rows, sum.mem.Desc); err != nil {
			return err
		}
	}
	addend, err := c.arrange(c.backward, other.mem, sum.mem.Desc, pass)
	if err != nil {
		return err
	}
	k, err := c.engine.Add(sum.mem.Desc)
	if err != nil {
		return err
	}
	if err := c.backward.Append(k, dnnl.Args{dnnl.Src: sum.mem, dnnl.Src1: addend, dnnl.Dst: target.mem}); err != nil {
		return err
	}
	if target != sum {
		c.release(sum.on)
	}
	c.release(other.on)
	t.grad = target
	return nil
}

// fold sums the gradients that the tasks have for the same rows, and takes g's reference over.
func (c *compiler) fold(t *tensor, g *grad) (*grad, error) {
	first, err := g.mem.Rows(0, t.rows)
	if err != nil {
		return nil, err
	}
	sum := &grad{first, g.on}
	if !g.exclusive() {
		if sum, err = c.newGrad(t.rows, first.Desc); err != nil {
			return nil, err
		}
		defer c.release(g.on)
	}
	k, err := c.engine.Add(first.Desc)
	if err != nil {
		return nil, err
	}
	for lo := t.rows; lo < g.mem.Dims()[0]; lo += t.rows {
		next, err := g.mem.Rows(lo, t.rows)
		if err != nil {
			return nil, err
		}
		if err := c.backward.Append(k, dnnl.Args{dnnl.Src: first, dnnl.Src1: next, dnnl.Dst: sum.mem}); err != nil {
			return nil, err
		}
		first = sum.mem
	}
	return sum, nil
}

// drop gives up the gradient of a tensor whose maker has used it.
func (c *compiler) drop(t *tensor) {
	if t.grad != nil {
		c.release(t.grad.on)
		t.grad = nil
	}
}
