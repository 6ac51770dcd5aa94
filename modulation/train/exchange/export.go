// Package exchange carries networks between training and ONNX: Export writes a trained network as a
// model that every engine runs, Import reads a CNN made of the same operators, weights included.
package exchange

import (
	"fmt"
	"maps"
	"slices"

	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/pipeline"
)

// Opset is the version of the operator set that Export writes.
const Opset = 17

// Options are what a model file says beside the network.
type Options struct {
	Preprocess pipeline.Preprocess // its output must be as large as the network's images
	Metadata   map[string]string   // more keys of metadata_props, such as how the model was made
}

// OutputOf is the name of a task's output.
func OutputOf(task string) string { return "embedding_" + task }

// Export writes the network as an ONNX model: the trunk once, the tail once a task, one output
// embedding_<task> [N, D] a task, batch norms by their running statistics, modulation as a product with
// ReLU(s). Nothing is folded. Tensors are named after nodes, with "@task" behind in tails, and weights
// after parameters. A network that ends in Normalize is compared by cosine, any other by L2.
func Export(net *network.Network, params *network.Params, opt Options) (*onnx.ModelProto, error) {
	e, err := newExporter(net, params)
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if h, w := opt.Preprocess.Output(); h != net.Image[1] || w != net.Image[2] {
		return nil, fmt.Errorf("export: preprocessing yields %d×%d, but the network's images are %v", h, w, net.Image)
	}
	if err := e.all(); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	m := onnx.NewModel(Opset, e.graph)
	if err := modulation.SetMetadata(m, e.tasks(), opt.Preprocess); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	if err := modulation.SetSites(m, e.sites()); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(opt.Metadata)) {
		m.SetMetadata(key, opt.Metadata[key])
	}
	return m, nil
}

// exporter builds the graph.
type exporter struct {
	net    *network.Network
	params *network.Params
	shapes map[string]network.Shape
	tail   map[string]bool
	graph  *onnx.GraphProto
	flat   map[string]bool // ONNX tensors of shape [N, C]; the others are [N, C, H, W]
	stored map[string]bool // initialisers that are there already
}

func newExporter(net *network.Network, params *network.Params) (*exporter, error) {
	if err := net.Check(); err != nil {
		return nil, err
	}
	shapes, err := net.Shapes()
	if err != nil {
		return nil, err
	}
	if net.Image[0] != 3 {
		return nil, fmt.Errorf("images of %d channels, want 3", net.Image[0])
	}
	e := &exporter{
		net: net, params: params, shapes: shapes, tail: map[string]bool{},
		graph: &onnx.GraphProto{
			Name:  new("facet"),
			Input: []*onnx.ValueInfoProto{onnx.NewImages(network.Input, int64(net.Image[0]), int64(net.Image[1]), int64(net.Image[2]))},
		},
		flat: map[string]bool{}, stored: map[string]bool{},
	}
	own := map[string]bool{} // nodes with parameters of a task
	for _, p := range params.List {
		own[p.Node] = own[p.Node] || p.Task != network.Shared
	}
	for _, n := range net.Nodes {
		e.tail[n.Name] = own[n.Name] || slices.ContainsFunc(n.Inputs, func(in string) bool { return e.tail[in] })
	}
	return e, nil
}

func (e *exporter) tasks() []pipeline.Task {
	_, unit := e.net.Nodes[len(e.net.Nodes)-1].Op.(network.Normalize)
	metric := pipeline.L2
	if unit {
		metric = pipeline.Cosine
	}
	var list []pipeline.Task
	for _, name := range e.net.Tasks {
		list = append(list, pipeline.Task{Name: name, Output: OutputOf(name), Dim: e.net.Dim(), Metric: metric, Normalized: unit})
	}
	return list
}

// sites are the modulations of each task.
func (e *exporter) sites() modulation.Sites {
	sites := modulation.Sites{}
	for t, name := range e.net.Tasks {
		for _, n := range e.net.Nodes {
			if _, ok := n.Op.(network.Modulation); ok {
				scales := e.net.Of(e.params, n.Name, network.Scale, t).Data
				sites[name] = append(sites[name], modulation.NewSite(n.Inputs[0], scales))
			}
		}
	}
	return sites
}

// all emits the trunk, then one tail after another, then the outputs.
func (e *exporter) all() error {
	if err := e.pass(network.Shared); err != nil {
		return err
	}
	for t, name := range e.net.Tasks {
		if err := e.pass(t); err != nil {
			return err
		}
		last := e.tensor(e.net.Output(), t)
		if !e.flat[last] {
			e.emit("Flatten", []string{last}, OutputOf(name), onnx.NewInt("axis", 1))
		} else {
			e.emit("Identity", []string{last}, OutputOf(name))
		}
		e.graph.Output = append(e.graph.Output, onnx.NewImages(OutputOf(name), int64(e.net.Dim())))
	}
	return nil
}

// pass emits the nodes of the trunk (network.Shared) or of one task's tail.
func (e *exporter) pass(task int) error {
	for _, n := range e.net.Nodes {
		if e.tail[n.Name] == (task == network.Shared) {
			continue
		}
		s := step{exporter: e, node: n, task: task, out: e.tensor(n.Name, task)}
		for _, in := range n.Inputs {
			s.in = append(s.in, e.tensor(in, task))
		}
		if err := s.emit(); err != nil {
			return fmt.Errorf("node %q: %w", n.Name, err)
		}
	}
	return nil
}

// tensor is the name of a node's output in the pass of a task.
func (e *exporter) tensor(node string, task int) string {
	if task == network.Shared || !e.tail[node] {
		return node
	}
	return node + "@" + e.net.Tasks[task]
}

func (e *exporter) emit(op string, in []string, out string, attributes ...*onnx.AttributeProto) {
	e.graph.Node = append(e.graph.Node, onnx.NewNode(op, in, []string{out}, attributes...))
}

// floats stores a weight once and returns its name.
func (e *exporter) floats(name string, values []float32, dims ...int) string {
	if !e.stored[name] {
		e.stored[name] = true
		e.graph.Initializer = append(e.graph.Initializer, onnx.NewFloats(name, wide(dims), values))
	}
	return name
}

func (e *exporter) ints(name string, values ...int64) string {
	if !e.stored[name] {
		e.stored[name] = true
		e.graph.Initializer = append(e.graph.Initializer, onnx.NewInts(name, []int64{int64(len(values))}, values))
	}
	return name
}

func wide(v []int) []int64 {
	w := make([]int64, len(v))
	for i, x := range v {
		w[i] = int64(x)
	}
	return w
}
