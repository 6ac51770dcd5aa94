package network

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// Role is what a parameter is to its node.
type Role string

// The roles. Running statistics are state: they are averaged and saved, but have no gradient.
const (
	Weight      Role = "weight"
	Bias        Role = "bias"
	Gain        Role = "gain"
	Shift       Role = "shift"
	Scale       Role = "scale"
	RunningMean Role = "running_mean"
	RunningVar  Role = "running_var"
)

// Learned reports whether the role has a gradient.
func (r Role) Learned() bool { return r != RunningMean && r != RunningVar }

// Init draws initial values from a normal distribution.
type Init struct{ Mean, Std float64 }

// heStd keeps the variance of activations through a ReLU (He et al. 2015, eq. 10).
func heStd(fan int) float64 { return math.Sqrt(2 / float64(fan)) }

// lecunStd keeps the variance where no ReLU follows.
func lecunStd(fan int) float64 { return math.Sqrt(1 / float64(fan)) }

// Spec describes a parameter of an operation.
type Spec struct {
	Role    Role
	Dims    []int
	Init    Init
	PerTask bool // one for each task even where the node has one for all
}

// Shared is the task of parameters that all tasks share.
const Shared = -1

// Param is the value of one parameter.
type Param struct {
	Name string // "node/role", or "node/role@task"
	Node string
	Role Role
	Task int // index into the network's tasks, or Shared
	Dims []int
	Data []float32 // row-major
	// Frozen parameters are not trained.
	Frozen bool
}

// Params are the values of all parameters of a network, in the order of its nodes.
type Params struct {
	List   []*Param
	byName map[string]*Param
}

// NewParams draws initial values.
func (n *Network) NewParams(rng *rand.Rand) (*Params, error) {
	if err := n.Check(); err != nil {
		return nil, err
	}
	shapes, err := n.Shapes()
	if err != nil {
		return nil, err
	}
	ps := &Params{byName: map[string]*Param{}}
	for _, node := range n.Nodes {
		in, err := node.inputs(shapes)
		if err != nil {
			return nil, err
		}
		for _, spec := range node.Op.Params(in) {
			for _, p := range n.params(node, spec) {
				p.draw(spec.Init, rng)
				ps.List = append(ps.List, p)
				ps.byName[p.Name] = p
			}
		}
	}
	return ps, nil
}

// params are the node's parameters of one role: one, or one a task. Copies of a layer for different
// tasks start from different draws.
func (n *Network) params(node Node, spec Spec) []*Param {
	one := func(task int) *Param {
		size := 1
		for _, d := range spec.Dims {
			size *= d
		}
		return &Param{
			Name: n.paramName(node.Name, spec.Role, task), Node: node.Name, Role: spec.Role, Task: task,
			Dims: spec.Dims, Data: make([]float32, size), Frozen: node.Frozen || !spec.Role.Learned(),
		}
	}
	if !node.PerTask && !spec.PerTask {
		return []*Param{one(Shared)}
	}
	list := make([]*Param, len(n.Tasks))
	for t := range list {
		list[t] = one(t)
	}
	return list
}

func (n *Network) paramName(node string, role Role, task int) string {
	if task == Shared {
		return fmt.Sprintf("%s/%s", node, role)
	}
	return fmt.Sprintf("%s/%s@%s", node, role, n.Tasks[task])
}

func (p *Param) draw(init Init, rng *rand.Rand) {
	for i := range p.Data {
		v := init.Mean
		if init.Std != 0 {
			v += init.Std * rng.NormFloat64()
		}
		p.Data[i] = float32(v)
	}
}

// Named is the parameter of that name, or nil.
func (ps *Params) Named(name string) *Param { return ps.byName[name] }

// Of is the parameter of a node that the task uses: its own, or the shared one; nil when the node
// has none of the role.
func (n *Network) Of(ps *Params, node string, role Role, task int) *Param {
	if task != Shared {
		if p := ps.byName[n.paramName(node, role, task)]; p != nil {
			return p
		}
	}
	return ps.byName[n.paramName(node, role, Shared)]
}

// Freeze marks the parameters of frozen nodes, whose flag may have been set after they were drawn.
func (n *Network) Freeze(ps *Params) {
	frozen := map[string]bool{}
	for _, node := range n.Nodes {
		frozen[node.Name] = node.Frozen
	}
	for _, p := range ps.List {
		p.Frozen = frozen[p.Node] || !p.Role.Learned()
	}
}

// Clone copies all values.
func (ps *Params) Clone() *Params {
	c := &Params{List: make([]*Param, len(ps.List)), byName: make(map[string]*Param, len(ps.List))}
	for i, p := range ps.List {
		q := *p
		q.Data = append([]float32(nil), p.Data...)
		c.List[i], c.byName[q.Name] = &q, &q
	}
	return c
}

// Count is the number of learned values: all of them, and those that belong to one task (the first).
func (ps *Params) Count() (all, task int) {
	for _, p := range ps.List {
		if !p.Role.Learned() {
			continue
		}
		all += len(p.Data)
		if p.Task == 0 {
			task += len(p.Data)
		}
	}
	return all, task
}

// DeadScales is the number of channels of a task's modulation that are switched off for good, and of
// all its channels: a scale at or below 0 has no gradient any more.
func (ps *Params) DeadScales(task int) (dead, all int) {
	for _, p := range ps.List {
		if p.Role != Scale || p.Task != task && p.Task != Shared {
			continue
		}
		for _, s := range p.Data {
			if s <= 0 {
				dead++
			}
			all++
		}
	}
	return dead, all
}
