package exchange

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/weave"
)

// Source says what of a model becomes a network.
type Source struct {
	// Image is the height and width of the images; the zero value takes what the file declares.
	Image [2]int
	// Outputs are the tensors that are the tasks' embeddings, one a task, or one for all tasks. nil takes
	// all outputs of the graph. A tensor inside the graph cuts off what comes after it.
	Outputs []string
	// Tasks are the names of the tasks. nil names them after the outputs, without "embedding_".
	Tasks []string
}

// Import reads a CNN as a network that can be trained, with its weights: Conv (grouped and depthwise
// too), BatchNormalization, Relu, Clip as ReLU6, MaxPool, AveragePool, means over height and width, Add,
// Flatten and its spellings, Gemm and MatMul, products with a constant a channel, and the L2
// normalisation however it is spelled. Anything else is refused, by the node's title.
//
// Of several outputs, which must be computed by nodes of the same kinds, parameters that all have equal
// are shared, the others are each task's own. Products with constants that are not negative become
// Modulation, other constants a channel a frozen BatchNorm.
func Import(m *onnx.ModelProto, src Source) (*network.Network, *network.Params, error) {
	outputs, tasks, err := src.resolve(m)
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	var parts []*importer
	for _, name := range outputs {
		i, err := importOne(m, name, src.Image)
		if err != nil {
			return nil, nil, fmt.Errorf("import output %q: %w", name, err)
		}
		parts = append(parts, i)
	}
	net := &network.Network{Tasks: tasks, Image: parts[0].image, Nodes: parts[0].nodes}
	if err := join(net, parts, outputs); err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	params, err := net.NewParams(rand.New(rand.NewPCG(0, 0)))
	if err != nil {
		return nil, nil, fmt.Errorf("import: %w", err)
	}
	return net, params, fill(net, params, parts)
}

func (src Source) resolve(m *onnx.ModelProto) (outputs, tasks []string, err error) {
	outputs, tasks = src.Outputs, src.Tasks
	if outputs == nil {
		for _, v := range m.GetGraph().GetOutput() {
			outputs = append(outputs, v.GetName())
		}
	}
	if tasks == nil {
		for _, name := range outputs {
			tasks = append(tasks, strings.TrimPrefix(name, OutputOf("")))
		}
	}
	if len(outputs) == 0 || len(outputs) != 1 && len(outputs) != len(tasks) {
		return nil, nil, fmt.Errorf("%d outputs for %d tasks", len(outputs), len(tasks))
	}
	return outputs, tasks, nil
}

// importer reads one output.
type importer struct {
	g       *graph.Graph
	shapes  *graph.Shapes
	image   network.Shape
	readers map[string]int
	nodes   []network.Node
	index   map[string]int                        // node name → position
	is      map[string]string                     // ONNX tensor → node that yields it
	values  map[string]map[network.Role][]float32 // node → its parameters
	suffix  string                                // what tensors of this task's tail have behind their names
}

func importOne(m *onnx.ModelProto, output string, size [2]int) (*importer, error) {
	m = onnx.Shallow(m)
	m.Graph = onnx.Shallow(m.GetGraph())
	m.Graph.Output = []*onnx.ValueInfoProto{onnx.NewImages(output)}
	if g, err := graph.New(m); err != nil {
		return nil, err
	} else if g.Producer(output) == nil {
		return nil, errors.New("no node yields it")
	}
	var input graph.Shape
	if size != [2]int{} {
		input = graph.Shape{1, 3, int64(size[0]), int64(size[1])}
	}
	m, err := weave.Simplify(m, input)
	if err != nil {
		return nil, err
	}
	g, err := graph.New(m)
	if err != nil {
		return nil, err
	}
	i := &importer{
		g: g, readers: map[string]int{}, index: map[string]int{}, is: map[string]string{},
		values: map[string]map[network.Role][]float32{}, suffix: "@" + strings.TrimPrefix(output, OutputOf("")),
	}
	if err := i.infer(input); err != nil {
		return nil, err
	}
	return i, i.visit(output)
}

func (i *importer) infer(input graph.Shape) error {
	if len(i.g.Inputs()) != 1 {
		return fmt.Errorf("the graph has %d inputs, want the images alone", len(i.g.Inputs()))
	}
	in := i.g.Inputs()[0]
	if input == nil {
		for _, d := range in.GetType().GetTensorType().GetShape().GetDim() {
			input = append(input, d.GetDimValue())
		}
	}
	if len(input) != 4 || input[1] < 1 || input[2] < 1 || input[3] < 1 {
		return fmt.Errorf("the images' size is not known: input %q is declared %v, want [N C H W]; state height and width", in.GetName(), input)
	}
	const batch = 2 // not 1, so that an axis that follows the batch shows
	i.shapes = i.g.Infer(map[string]graph.Shape{in.GetName(): {batch, input[1], input[2], input[3]}})
	i.image = network.Shape{int(input[1]), int(input[2]), int(input[3])}
	i.is[in.GetName()] = network.Input
	for _, n := range i.g.Order() {
		for _, t := range n.GetInput() {
			i.readers[t]++
		}
	}
	return nil
}

// visit imports what yields a tensor, after what that reads. The order depends on how the nodes hang
// together alone.
func (i *importer) visit(tensor string) error {
	if _, done := i.is[tensor]; done || i.g.Constant(tensor) != nil || tensor == "" {
		return nil
	}
	n := i.g.Producer(tensor)
	if n == nil {
		return fmt.Errorf("tensor %q has no producer", tensor)
	}
	if x, ok := i.shapes.Unit(n); ok {
		if err := i.visit(x); err != nil {
			return err
		}
		i.add(n, network.Normalize{}, nil, x)
		return nil
	}
	for _, in := range n.GetInput() {
		if err := i.visit(in); err != nil {
			return err
		}
	}
	if err := i.node(n); err != nil {
		return fmt.Errorf("%s: %w", n.Title(), err)
	}
	return nil
}

// add appends a node named after the tensor that n yields.
func (i *importer) add(n *onnx.NodeProto, op network.Op, values map[network.Role][]float32, inputs ...string) *network.Node {
	tensor := n.GetOutput()[0]
	name := strings.TrimPrefix(strings.TrimSuffix(strings.TrimSuffix(tensor, "_output_0"), i.suffix), "/")
	for _, taken := i.index[name]; taken || name == network.Input || name == ""; _, taken = i.index[name] {
		name += "'"
	}
	node := network.Node{Name: name, Op: op}
	for _, in := range inputs {
		node.Inputs = append(node.Inputs, i.is[in])
	}
	i.index[name], i.is[tensor], i.values[name] = len(i.nodes), name, values
	i.nodes = append(i.nodes, node)
	return &i.nodes[len(i.nodes)-1]
}

// join marks the nodes whose parameters differ between outputs as each task's own.
func join(net *network.Network, parts []*importer, outputs []string) error {
	for k, part := range parts[1:] {
		if len(part.nodes) != len(net.Nodes) {
			return fmt.Errorf("outputs %q and %q are computed by %d and %d nodes, want the same", outputs[0], outputs[k+1], len(net.Nodes), len(part.nodes))
		}
	}
	for at := range net.Nodes {
		node := &net.Nodes[at]
		var differ []network.Role
		for k, part := range parts[1:] {
			other := part.nodes[at]
			if !reflect.DeepEqual(node.Op, other.Op) || !slices.Equal(parts[0].positions(*node), part.positions(other)) {
				return fmt.Errorf("outputs %q and %q differ in more than weights, from node %q on", outputs[0], outputs[k+1], node.Name)
			}
			for role, v := range parts[0].values[node.Name] {
				if !slices.Equal(v, part.values[other.Name][role]) {
					differ = append(differ, role)
				}
			}
		}
		bn, norm := node.Op.(network.BatchNorm)
		if norm && !slices.ContainsFunc(differ, network.Role.Learned) {
			bn.TaskStatistics = len(differ) > 0
			node.Op = bn
		} else {
			node.PerTask = len(differ) > 0
		}
	}
	return nil
}

// positions are the indices of the nodes that a node reads, -1 for the images.
func (i *importer) positions(n network.Node) []int {
	var list []int
	for _, in := range n.Inputs {
		if at, ok := i.index[in]; ok {
			list = append(list, at)
		} else {
			list = append(list, -1)
		}
	}
	return list
}

// fill gives the parameters the values that were read.
func fill(net *network.Network, params *network.Params, parts []*importer) error {
	for _, p := range params.List {
		part := parts[max(p.Task, 0)%len(parts)]
		name := part.nodes[parts[0].index[p.Node]].Name
		v := part.values[name][p.Role]
		if len(v) != len(p.Data) {
			return fmt.Errorf("import: parameter %q has %d values, want %d", p.Name, len(v), len(p.Data))
		}
		copy(p.Data, v)
	}
	return nil
}
