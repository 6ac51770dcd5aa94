package weave

import (
	"errors"
	"fmt"
	"slices"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
)

// Weaving says how modulation enters a CNN.
type Weaving struct {
	Input graph.Shape // of the images; nil takes what the file declares
	// Output is the tensor that becomes the embedding; "" is the graph's one output. What comes after it
	// goes.
	Output string
	Sites  []string // tensors or rules
	Tasks  []Task
	// Normalize divides embeddings by their length where the graph does not.
	Normalize bool
}

// Task is an output of the result.
type Task struct {
	Name   string
	Output string      // name of its output
	Scales [][]float32 // one vector a site, in the order of Weaving.Sites; nil scales nothing
}

// Weave puts ReLU(s_t)·x at every site x: the result computes what stands before the first site once,
// and what comes after it once a task, whose tensors have "@task" behind their names. It also returns the
// sites that the rules found. Nothing is folded.
func Weave(m *onnx.ModelProto, w Weaving) (*onnx.ModelProto, []Site, error) {
	m, output, err := w.target(m)
	if err != nil {
		return nil, nil, fmt.Errorf("weave: %w", err)
	}
	d, err := newDraft(m, w.Input)
	if err != nil {
		return nil, nil, fmt.Errorf("weave: %w", err)
	}
	d.simplify()
	sites, err := d.resolve(w.Sites, output)
	if err == nil {
		err = w.check(sites)
	}
	if err == nil {
		err = d.weave(w, sites, output)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("weave: %w", err)
	}
	if m, err = d.finish(); err != nil {
		return nil, nil, fmt.Errorf("weave: %w", err)
	}
	return m, sites, nil
}

// target is the model with the embedding as its only output.
func (w Weaving) target(m *onnx.ModelProto) (*onnx.ModelProto, string, error) {
	outputs := m.GetGraph().GetOutput()
	name := w.Output
	if name == "" {
		if len(outputs) != 1 {
			var names []string
			for _, v := range outputs[:min(len(outputs), maxListed)] {
				names = append(names, v.GetName())
			}
			return nil, "", fmt.Errorf("the graph has %d outputs (%q …): name the one to weave into", len(outputs), names)
		}
		name = outputs[0].GetName()
	}
	c := onnx.Shallow(m)
	c.Graph = onnx.Shallow(m.GetGraph())
	c.Graph.Output = []*onnx.ValueInfoProto{onnx.NewImages(name)}
	return c, name, nil
}

// maxListed is how many names a message lists.
const maxListed = 8

func (w Weaving) check(sites []Site) error {
	if len(w.Tasks) == 0 || len(sites) == 0 {
		return fmt.Errorf("%d tasks at %d sites, want at least one of each", len(w.Tasks), len(sites))
	}
	for _, t := range w.Tasks {
		if t.Scales != nil && len(t.Scales) != len(sites) {
			return fmt.Errorf("task %q has scales for %d sites, want %d", t.Name, len(t.Scales), len(sites))
		}
		for i, s := range t.Scales {
			if len(s) != sites[i].Channels {
				return fmt.Errorf("task %q has %d scales for %v", t.Name, len(s), sites[i])
			}
			if slices.ContainsFunc(s, func(v float32) bool { return v != v || v-v != 0 }) {
				return fmt.Errorf("task %q has a scale at %v that is no number", t.Name, sites[i])
			}
		}
	}
	return nil
}

// weave replaces what comes after the sites by one copy a task.
func (d *draft) weave(w Weaving, sites []Site, output string) error {
	tail := d.after(sites)
	if len(d.shapes[output]) != 2 && w.Normalize {
		return fmt.Errorf("the output %q has shape %v, want vectors [N D]", output, d.shapes[output])
	}
	embedding, err := d.embedding(output)
	if err != nil {
		return err
	}
	unit := embedding != output
	d.outputs = map[string]bool{}
	var results []string
	var infos []*onnx.ValueInfoProto
	for i, t := range w.Tasks {
		result := d.tail(tail, sites, t, output)
		if w.Normalize && !unit {
			if result, err = d.normalize(result); err != nil {
				return err
			}
		}
		results = append(results, result)
		infos = append(infos, onnx.NewImages(t.Output, d.shapes[output][1:]...))
		if d.made[t.Output] != nil || d.weights[t.Output] != nil || slices.ContainsFunc(w.Tasks[:i], func(o Task) bool { return o.Output == t.Output }) {
			return fmt.Errorf("the name of output %q is taken", t.Output)
		}
	}
	for i, t := range w.Tasks {
		d.outputs[t.Output] = true
		d.present(d.known(results[i]), t.Output)
	}
	d.model = onnx.Shallow(d.model)
	d.model.Graph = onnx.Shallow(d.model.GetGraph())
	d.model.Graph.Output = infos
	return nil
}

// after are the nodes that read from a site, directly or not, in order.
func (d *draft) after(sites []Site) []*onnx.NodeProto {
	scaled := map[string]bool{}
	for _, s := range sites {
		scaled[s.Tensor] = true
	}
	return slices.DeleteFunc(d.sorted(), func(n *onnx.NodeProto) bool {
		reads := slices.ContainsFunc(n.GetInput(), func(t string) bool { return scaled[t] })
		for _, t := range n.GetOutput() {
			scaled[t] = scaled[t] || reads
		}
		return !reads
	})
}

// tail copies the nodes for a task, with its scales at the sites, and returns what its output is called.
func (d *draft) tail(nodes []*onnx.NodeProto, sites []Site, t Task, output string) string {
	is := map[string]string{} // tensor → what the task has in its place
	site := func(tensor, own string) {
		i := slices.IndexFunc(sites, func(s Site) bool { return s.Tensor == tensor })
		if i >= 0 && t.Scales != nil {
			own = d.modulate(own, tensor, t.Scales[i], t.Name)
		}
		if own != tensor {
			is[tensor] = own
		}
	}
	for _, s := range sites {
		if !slices.ContainsFunc(nodes, func(n *onnx.NodeProto) bool { return slices.Contains(n.GetOutput(), s.Tensor) }) {
			site(s.Tensor, s.Tensor)
		}
	}
	for _, n := range nodes {
		c := onnx.Shallow(n)
		c.Input, c.Output = slices.Clone(n.GetInput()), slices.Clone(n.GetOutput())
		for i, in := range c.Input {
			if own, ok := is[in]; ok {
				c.Input[i] = own
			}
		}
		for i, o := range c.Output {
			if o != "" {
				c.Output[i] = d.fresh(o + "@" + t.Name)
				d.shapes[c.Output[i]] = d.shapes[o]
			}
		}
		c.Name = new(c.GetOpType() + "/" + out(c))
		d.insert(c)
		for i, o := range c.Output {
			if o != "" {
				site(n.GetOutput()[i], o)
			}
		}
	}
	if own, ok := is[output]; ok {
		return own
	}
	return output
}

// modulate multiplies a tensor with ReLU(s) and returns the product.
func (d *draft) modulate(x, site string, s []float32, task string) string {
	y := d.fresh(site + "/scaled@" + task)
	d.shapes[y] = d.shapes[x]
	dims := slices.Repeat([]int64{1}, len(d.shapes[x]))
	dims[1] = int64(len(s))
	weight := d.store(site+"/scale@"+task, dims, each(s, func(v float32) float32 { return max(v, 0) }))
	d.insert(onnx.NewNode("Mul", []string{x, weight}, []string{y}))
	return y
}

// shortest is the length below which a vector is divided by this instead, as PyTorch does.
const shortest = 1e-12

// normalize divides vectors by their Euclidean length.
func (d *draft) normalize(x string) (string, error) {
	opset, ok := d.model.Opset(onnx.DefaultDomain)
	if !ok {
		return "", errors.New("the version of the operator set is not known")
	}
	length, bounded, y := d.fresh(x+"/length"), d.fresh(x+"/divisor"), d.fresh(x+"/unit")
	reduce := onnx.NewNode("ReduceL2", []string{x}, []string{length}, onnx.NewInt("keepdims", 1))
	if opset < 18 {
		reduce.Attribute = append(reduce.Attribute, onnx.NewIntList("axes", 1))
	} else {
		axes := d.fresh("axes/1")
		d.weights[axes] = onnx.NewInts(axes, []int64{1}, []int64{1})
		reduce.Input = append(reduce.Input, axes)
	}
	d.insert(reduce)
	d.insert(onnx.NewNode("Clip", []string{length, d.store("shortest", nil, []float32{shortest})}, []string{bounded}))
	d.insert(onnx.NewNode("Div", []string{x, bounded}, []string{y}))
	d.shapes[y] = d.shapes[x]
	return y, nil
}
