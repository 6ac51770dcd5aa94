package modulation

import (
	"errors"
	"fmt"
	"strings"

	"github.com/facet-search/facet/modulation/graph"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/pipeline"
)

// Model is one ONNX file and what Facet knows of it: one image input, and one output a task. It is not
// changed after Open.
type Model struct {
	Input      string // the graph's one input, float32 [N, 3, H, W]
	Tasks      []pipeline.Task
	Preprocess pipeline.Preprocess
	Digests    Digests

	graph *graph.Graph
	bytes int
	sites Sites // as stated; nil where the file says nothing
}

// Overrides replace what the file's metadata say; nil leaves it to them.
type Overrides struct {
	Tasks      []pipeline.Task
	Preprocess *pipeline.Preprocess
}

// Open reads an ONNX file and checks all that can be checked without running it: tasks and
// preprocessing are stated (in the metadata or in o), every task has its output of shape [N, Dim], and
// the one input takes what the preprocessing yields. file is not referred to afterwards.
func Open(file []byte, o Overrides) (*Model, error) {
	p, err := onnx.Read(file)
	if err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	m := &Model{bytes: len(file)}
	if m.graph, err = graph.New(p); err != nil {
		return nil, fmt.Errorf("open model: %w", err)
	}
	for _, step := range []func() error{
		func() error { return m.readTasks(o) },
		func() error { return m.readPreprocess(o) },
		func() (err error) { m.sites, err = readSites(p); return err },
		m.checkInput,
		m.checkOutputs,
		func() error { return m.digest(file) },
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("open model: %w", err)
		}
	}
	return m, nil
}

func (m *Model) readTasks(o Overrides) (err error) {
	m.Tasks = append(m.Tasks, o.Tasks...)
	if o.Tasks == nil {
		doc, ok := m.graph.Model.Metadata(TasksKey)
		if !ok {
			return fmt.Errorf("the file's metadata have no %q, so it is not known what its outputs mean. State the tasks in "+
				"the job's YAML, each as {name: NAME, output: OUTPUT, dim: D, metric: cosine|l2, normalized: true|false}, "+
				"or write them into the file. The outputs are %s", TasksKey, m.listOutputs())
		}
		if m.Tasks, err = parseTasks(doc); err != nil {
			return fmt.Errorf("metadata %s: %w", TasksKey, err)
		}
	}
	return checkTasks(m.Tasks)
}

func (m *Model) readPreprocess(o Overrides) (err error) {
	if o.Preprocess != nil {
		m.Preprocess = *o.Preprocess
		return checkPreprocess(m.Preprocess)
	}
	doc, ok := m.graph.Model.Metadata(PreprocessKey)
	if !ok {
		return fmt.Errorf("the file's metadata have no %q, so it is not known how images become its input. State it in the "+
			"job's YAML, as {resize: stretch|shorter|letterbox, size: [H, W], filter: bilinear|bicubic, mean: [R, G, B], "+
			"std: [R, G, B], scale: 0.00392156862745098, channels: rgb|bgr, orientation: ignore|apply, "+
			"background: [255, 255, 255]}, or write it into the file", PreprocessKey)
	}
	if m.Preprocess, err = parsePreprocess(doc); err != nil {
		return fmt.Errorf("metadata %s: %w", PreprocessKey, err)
	}
	return checkPreprocess(m.Preprocess)
}

// maxListed is how many outputs a message lists.
const maxListed = 8

func (m *Model) listOutputs() string {
	var list []string
	outputs := m.graph.Model.GetGraph().GetOutput()
	for _, v := range outputs[:min(len(outputs), maxListed)] {
		list = append(list, fmt.Sprintf("%q %s", v.GetName(), declared(v)))
	}
	if len(outputs) > maxListed {
		list = append(list, fmt.Sprintf("and %d more", len(outputs)-maxListed))
	}
	return strings.Join(list, ", ")
}

// declared is a value's declared shape in words, such as [n 3 64 64].
func declared(v *onnx.ValueInfoProto) string {
	shape := v.GetType().GetTensorType().GetShape()
	if shape == nil {
		return "[?]"
	}
	dims := make([]string, len(shape.GetDim()))
	for i, d := range shape.GetDim() {
		switch {
		case d.GetDimParam() != "":
			dims[i] = d.GetDimParam()
		case fixed(d):
			dims[i] = fmt.Sprint(d.GetDimValue())
		default:
			dims[i] = "?"
		}
	}
	return "[" + strings.Join(dims, " ") + "]"
}

// fixed reports whether an extent is given as a number.
func fixed(d *onnx.TensorShapeProto_Dimension) bool {
	_, ok := d.GetValue().(*onnx.TensorShapeProto_Dimension_DimValue)
	return ok
}

var errFixedBatch = errors.New("its batch is fixed, and Facet runs batches of several sizes: export it again with a dynamic " +
	"first axis (dynamic_axes={…: {0: \"n\"}}), or replace the number with onnx.tools.update_model_dims")

// checkInput wants the one input to be float32 [N, 3, H, W], with H and W symbolic or as the
// preprocessing yields them.
func (m *Model) checkInput() error {
	inputs := m.graph.Inputs()
	if len(inputs) != 1 {
		var names []string
		for _, v := range inputs[:min(len(inputs), maxListed)] {
			names = append(names, v.GetName())
		}
		return fmt.Errorf("the graph has %d inputs (%s …), want the image alone", len(inputs), strings.Join(names, ", "))
	}
	in := inputs[0]
	m.Input = in.GetName()
	if err := isFloat32(in); err != nil {
		return fmt.Errorf("input %q: %w", m.Input, err)
	}
	dims := in.GetType().GetTensorType().GetShape().GetDim()
	h, w := m.Preprocess.Output()
	if len(dims) != 4 {
		return fmt.Errorf("input %q has shape %s, want [N 3 %d %d]", m.Input, declared(in), h, w)
	}
	if fixed(dims[0]) {
		return fmt.Errorf("input %q has shape %s: %w", m.Input, declared(in), errFixedBatch)
	}
	for i, want := range []int{3, h, w} {
		if d := dims[i+1]; fixed(d) && d.GetDimValue() != int64(want) {
			return fmt.Errorf("input %q has shape %s, but the preprocessing yields [N 3 %d %d]: correct its size or crop, or "+
				"take the model exported for this size", m.Input, declared(in), h, w)
		}
	}
	return nil
}

func isFloat32(v *onnx.ValueInfoProto) error {
	if t := onnx.TensorProto_DataType(v.GetType().GetTensorType().GetElemType()); t != onnx.TensorProto_FLOAT {
		return fmt.Errorf("its type is %v, want FLOAT: Facet feeds and reads float32", t)
	}
	return nil
}

// checkOutputs wants every task's output to be float32 [N, Dim]. Exporters often leave Dim symbolic; then
// it is inferred from the graph, where that can be done.
func (m *Model) checkOutputs() error {
	const n = 2 // not 1, so that an axis that follows the batch shows
	shapes := m.shapes(n)
	outputs := make(map[string]*onnx.ValueInfoProto)
	for _, v := range m.graph.Model.GetGraph().GetOutput() {
		outputs[v.GetName()] = v
	}
	for _, t := range m.Tasks {
		v := outputs[t.Output]
		if v == nil {
			return fmt.Errorf("task %q: the graph has no output %q; it has %s", t.Name, t.Output, m.listOutputs())
		}
		if err := checkOutput(v, t.Dim); err != nil {
			return fmt.Errorf("task %q, output %q: %w", t.Name, t.Output, err)
		}
		if s := shapes.Of(t.Output); s != nil && (len(s) != 2 || s[0] != n || s[1] != int64(t.Dim)) {
			return fmt.Errorf("task %q, output %q: for %d images its shape is %v, want [%d %d]; the task's dim or output is wrong",
				t.Name, t.Output, n, s, n, t.Dim)
		}
	}
	return nil
}

func checkOutput(v *onnx.ValueInfoProto, dim int) error {
	if err := isFloat32(v); err != nil {
		return err
	}
	if v.GetType().GetTensorType().GetShape() == nil {
		return nil // not declared: inference and the engine know better
	}
	dims := v.GetType().GetTensorType().GetShape().GetDim()
	if len(dims) != 2 || fixed(dims[1]) && dims[1].GetDimValue() != int64(dim) {
		return fmt.Errorf("its shape is %s, want [N %d]", declared(v), dim)
	}
	if fixed(dims[0]) {
		return fmt.Errorf("its shape is %s: %w", declared(v), errFixedBatch)
	}
	return nil
}

// shapes are those of a pass over n images.
func (m *Model) shapes(n int) *graph.Shapes {
	h, w := m.Preprocess.Output()
	return m.graph.Infer(map[string]graph.Shape{m.Input: {int64(n), 3, int64(h), int64(w)}})
}
