package autodiff

import (
	"errors"
	"fmt"

	"github.com/facet-search/facet/modulation/train/dnnl"
	"github.com/facet-search/facet/modulation/train/network"
)

// tensor is the output of a node while the network is compiled.
type tensor struct {
	shape   network.Shape
	rows    int
	mem     *dnnl.Memory // all rows; nil until a kernel has chosen the layout
	readers int
	kept    bool // its values are wanted in the backward pass by what made it: not to be overwritten
	learns  bool // something before it has a gradient
	grad    *grad
}

func (t *tensor) dims(rows int) []int { return append([]int{rows}, t.shape[:]...) }

// part is one run of a node: the whole batch, or one task's slice of it.
type part struct {
	task  int // network.Shared for the whole batch
	lo, n int // rows of the output
}

// step is one node while it is compiled.
type step struct {
	*network.Node
	in    []*tensor
	out   *tensor
	parts []part
}

// view is the part's rows of a memory that holds the rows of tensor t. Where a batch is common to all
// tasks, the tails read the same rows of the trunk.
func (s *step) view(m *dnnl.Memory, t *tensor, p part) (*dnnl.Memory, error) {
	if p.task == network.Shared || t.rows != s.out.rows {
		return m, nil
	}
	return m.Rows(p.lo, p.n)
}

// own is the part's rows of a memory with a row for each of the output's, such as the gradient of an
// input: one for every task, also where the tasks read the same rows.
func (s *step) own(m *dnnl.Memory, p part) (*dnnl.Memory, error) {
	if p.task == network.Shared {
		return m, nil
	}
	return m.Rows(p.lo, p.n)
}

type compiler struct {
	*Plan
	opt       Options
	training  bool
	shapes    map[string]network.Shape
	readers   map[string][]int
	tensors   map[string]*tensor
	folded    map[string]string // output of a folded Modulation → its node
	fused     map[string]bool   // ReLUs that their BatchNorm computes
	cache     map[valueKey]*value
	pool      []*storage
	temps     []*storage
	backwards []func() error // of the nodes so far, to be called in reverse
}

func compile(net *network.Network, params *network.Params, opt Options, training bool) (*Plan, error) {
	if err := net.Check(); err != nil {
		return nil, err
	}
	if opt.Batch < 1 {
		return nil, fmt.Errorf("compile: batch of %d", opt.Batch)
	}
	engine, err := dnnl.NewEngine(max(opt.Threads, 1))
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	p := &Plan{
		net: net, params: params, engine: engine, slice: opt.Batch,
		prepare: engine.NewProgram(), forward: engine.NewProgram(), backward: engine.NewProgram(),
		grads: map[*network.Param][]float32{},
	}
	c := &compiler{
		Plan: p, opt: opt, training: training,
		readers: net.Consumers(), tensors: map[string]*tensor{},
		folded: map[string]string{}, fused: map[string]bool{}, cache: map[valueKey]*value{},
	}
	if err := c.compile(); err != nil {
		engine.Close()
		return nil, fmt.Errorf("compile: %w", err)
	}
	return p, nil
}

func (c *compiler) compile() error {
	var err error
	if c.shapes, err = c.net.Shapes(); err != nil {
		return err
	}
	c.chooseFolds()
	c.chooseFusions()
	if err := c.input(); err != nil {
		return err
	}
	for i := range c.net.Nodes {
		if err := c.node(&c.net.Nodes[i]); err != nil {
			return fmt.Errorf("node %q: %w", c.net.Nodes[i].Name, err)
		}
	}
	if err := c.output(); err != nil {
		return err
	}
	for i := len(c.backwards) - 1; i >= 0; i-- {
		if err := c.backwards[i](); err != nil {
			return err
		}
		c.releaseTemps()
	}
	return c.imageDiff()
}

func (c *compiler) input() error {
	rows := c.opt.Batch
	if c.training && !c.opt.Common {
		rows *= len(c.net.Tasks)
	}
	t := &tensor{shape: c.net.Image, rows: rows, readers: len(c.readers[network.Input]), kept: true}
	t.learns = c.training && c.opt.ImageGradient
	var err error
	t.mem, err = c.engine.Alloc(dnnl.Plain(t.dims(rows)...))
	c.images, c.tensors[network.Input] = t.mem, t
	return err
}

// node compiles one node forward and notes how to compile it backward.
func (c *compiler) node(n *network.Node) error {
	s := &step{Node: n}
	for _, name := range n.Inputs {
		s.in = append(s.in, c.tensors[name])
	}
	s.out = &tensor{shape: c.shapes[n.Name], readers: len(c.readers[n.Name]), learns: c.learns(n, s.in)}
	c.split(s)
	backward, err := c.emit(s)
	if err != nil {
		return err
	}
	c.releaseTemps()
	c.tensors[n.Name] = s.out
	if !s.out.learns || backward == nil {
		return nil
	}
	c.backwards = append(c.backwards, func() error {
		if s.out.grad == nil {
			return nil // nothing reads the node's output
		}
		if err := backward(); err != nil {
			return fmt.Errorf("node %q backward: %w", n.Name, err)
		}
		c.drop(s.out)
		return nil
	})
	return nil
}

// emit compiles the node forward and returns how to compile it backward; nil for a node whose output
// is its input's tensor.
func (c *compiler) emit(s *step) (func() error, error) {
	switch op := s.Op.(type) {
	case network.Conv:
		return c.conv(s, op)
	case network.Dense:
		return c.dense(s, op)
	case network.BatchNorm:
		return c.batchNorm(s, op)
	case network.Modulation:
		return c.modulation(s)
	case network.ReLU:
		return c.relu(s, op)
	case network.MaxPool:
		return c.pooling(s, dnnl.Max, window(op.Window))
	case network.AvgPool:
		kind := dnnl.MeanInside
		if op.CountPads {
			kind = dnnl.MeanPadding
		}
		return c.pooling(s, kind, window(op.Window))
	case network.GlobalAvgPool:
		x := s.in[0].shape
		return c.pooling(s, dnnl.MeanInside, dnnl.Window{Kernel: [2]int{x[1], x[2]}, Stride: [2]int{1, 1}})
	case network.Add:
		return c.add(s)
	case network.Flatten:
		return c.flatten(s)
	case network.Normalize:
		s.out = s.in[0]
		return nil, nil
	}
	return nil, fmt.Errorf("operation %T is unknown", s.Op)
}

func window(w network.Window) dnnl.Window {
	return dnnl.Window{
		Kernel: w.Kernel, Stride: w.Strides(),
		Before: [2]int{w.Pads[0], w.Pads[1]}, After: [2]int{w.Pads[2], w.Pads[3]},
	}
}

// learns reports whether a gradient must reach the node's output.
func (c *compiler) learns(n *network.Node, in []*tensor) bool {
	if !c.training {
		return false
	}
	for _, t := range in {
		if t.learns {
			return true
		}
	}
	names := []string{n.Name}
	for _, input := range n.Inputs {
		if m, ok := c.folded[input]; ok {
			names = append(names, m)
		}
	}
	for _, p := range c.params.List {
		for _, name := range names {
			if p.Node == name && !p.Frozen {
				return true
			}
		}
	}
	return false
}

// split decides on which rows the node runs.
func (c *compiler) split(s *step) {
	rows, mixed := 0, false
	for _, t := range s.in {
		mixed = mixed || rows != 0 && t.rows != rows
		rows = max(rows, t.rows)
	}
	if !c.perTask(s.Node) && !mixed {
		s.out.rows = rows
		s.parts = []part{{network.Shared, 0, rows}}
		return
	}
	tasks, n := len(c.net.Tasks), c.opt.Batch
	s.out.rows = tasks * n
	for t := range tasks {
		s.parts = append(s.parts, part{t, t * n, n})
	}
}

func (c *compiler) perTask(n *network.Node) bool {
	if bn, ok := n.Op.(network.BatchNorm); ok && bn.TaskStatistics {
		return true
	}
	if _, ok := c.folded[n.Name]; ok {
		return false // its readers do the work
	}
	for _, in := range n.Inputs {
		if m, ok := c.folded[in]; ok && c.byName(m).PerTask {
			return true
		}
	}
	return n.PerTask
}

func (c *compiler) byName(name string) *network.Node {
	for i := range c.net.Nodes {
		if c.net.Nodes[i].Name == name {
			return &c.net.Nodes[i]
		}
	}
	return nil
}

// output makes the embeddings plain, and room for their gradient.
func (c *compiler) output() error {
	t := c.tensors[c.net.Output()]
	var err error
	if c.raw, err = c.arrange(c.forward, t.mem, dnnl.Plain(t.dims(t.rows)...), keep); err != nil {
		return err
	}
	c.shared = t.rows == c.opt.Batch && (!c.training || c.opt.Common || len(c.net.Tasks) == 1)
	size := t.rows * t.shape[0]
	if _, ok := c.net.Nodes[len(c.net.Nodes)-1].Op.(network.Normalize); ok {
		c.unit, c.unitDiff = make([]float32, size), make([]float32, size)
	}
	if !c.training {
		return nil
	}
	if !t.learns {
		return errors.New("nothing to train: all parameters are frozen")
	}
	if c.diff, err = c.engine.Alloc(c.raw.Desc); err != nil {
		return err
	}
	t.grad = &grad{c.diff, &storage{buffer: c.diff.Buffer(), refs: 2}} // one is the caller's, forever
	return nil
}

func (c *compiler) imageDiff() error {
	t := c.tensors[network.Input]
	if t.grad == nil {
		return nil
	}
	var err error
	c.imgDiff, err = c.arrange(c.backward, t.grad.mem, c.images.Desc, keep)
	return err
}

// lifetime says how long a rearranged copy is wanted.
type lifetime bool

const (
	keep lifetime = true  // in this step's backward pass, or by the caller
	pass lifetime = false // only by the kernels of the node being compiled
)

// arrange returns the memory in the wanted layout, as it is or as a copy made by prog.
func (c *compiler) arrange(prog *dnnl.Program, m *dnnl.Memory, want dnnl.Desc, life lifetime) (*dnnl.Memory, error) {
	if m.Equal(want) {
		return m, nil
	}
	var to *dnnl.Memory
	var err error
	if life == keep {
		to, err = c.engine.Alloc(want)
	} else {
		to, err = c.temp(want)
	}
	if err != nil {
		return nil, err
	}
	return to, c.reorder(prog, m, to)
}

func (c *compiler) reorder(prog *dnnl.Program, from, to *dnnl.Memory) error {
	k, err := c.engine.Reorder(from.Desc, to.Desc)
	if err != nil {
		return err
	}
	return prog.Append(k, dnnl.Args{dnnl.Src: from, dnnl.Dst: to})
}

// place allocates the output in the layout that the kernel chose for a part of it.
func (c *compiler) place(s *step, part dnnl.Desc) error {
	d, err := part.WithRows(s.out.rows)
	if err != nil {
		return err
	}
	s.out.mem, err = c.engine.Alloc(d)
	return err
}

// expendable reports whether the step may overwrite its i-th input with its output.
func (s *step) expendable(i int) bool {
	t := s.in[i]
	return t.readers == 1 && !t.kept && t.rows == s.out.rows
}
