package modulation

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/pipeline"
)

func preprocess() pipeline.Preprocess {
	return pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{4, 6}, Filter: "bilinear", Mean: [3]float64{0.5, 0.5, 0.5}, Std: [3]float64{1, 1, 1},
		Scale: 1. / 255, Channels: "rgb", Orientation: "ignore", Background: [3]uint8{255, 255, 255},
	}
}

func tasks() []pipeline.Task {
	return []pipeline.Task{
		{Name: "shape", Output: "embedding_shape", Dim: 2, Metric: pipeline.Cosine, Normalized: true},
		{Name: "colour", Output: "embedding_colour", Dim: 2, Metric: pipeline.L2},
	}
}

// tiny is a modulated network of two tasks on 4×6 images: pool, head, scale (and a division for shape).
func tiny() *onnx.ModelProto {
	node := func(op, in, out string, a ...*onnx.AttributeProto) *onnx.NodeProto {
		return onnx.NewNode(op, strings.Fields(in), []string{out}, a...)
	}
	return onnx.NewModel(17, &onnx.GraphProto{
		Name: new("tiny"),
		Node: []*onnx.NodeProto{
			node("GlobalAveragePool", "images", "p"), node("Flatten", "p", "f"), node("MatMul", "f w", "trunk"),
			node("Mul", "trunk s1", "m1"), node("ReduceL2", "m1", "norm", onnx.NewIntList("axes", 1)), node("Div", "m1 norm", "embedding_shape"),
			node("Mul", "trunk s2", "embedding_colour"),
		},
		Initializer: []*onnx.TensorProto{onnx.NewFloats("w", []int64{3, 2}, []float32{1, 2, 3, 4, 5, 6}),
			onnx.NewFloats("s1", []int64{2}, []float32{1, 2}), onnx.NewFloats("s2", []int64{2}, []float32{3, 4})},
		Input:  []*onnx.ValueInfoProto{onnx.NewImages("images", 3, 4, 6)},
		Output: []*onnx.ValueInfoProto{onnx.NewImages("embedding_shape", 2), onnx.NewImages("embedding_colour", -1)},
	})
}

func described(t testing.TB) *onnx.ModelProto {
	t.Helper()
	m := tiny()
	if err := SetMetadata(m, tasks(), preprocess()); err != nil {
		t.Fatal(err)
	}
	return m
}

func write(t testing.TB, m *onnx.ModelProto) []byte {
	t.Helper()
	b, err := onnx.Write(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpen(t *testing.T) {
	m, err := Open(write(t, described(t)), Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Input != "images" || !reflect.DeepEqual(m.Tasks, tasks()) || m.Preprocess != preprocess() {
		t.Errorf("opened %q %+v %+v", m.Input, m.Tasks, m.Preprocess)
	}
}

func TestOverrides(t *testing.T) {
	p := preprocess()
	p.Filter = "bicubic"
	only := tasks()[1:]
	for name, file := range map[string]*onnx.ModelProto{"no metadata": tiny(), "metadata": described(t)} {
		m, err := Open(write(t, file), Overrides{Tasks: only, Preprocess: &p})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(m.Tasks, only) || m.Preprocess != p || len(m.Digests.Tasks) != 1 {
			t.Errorf("%s: opened %+v %+v", name, m.Tasks, m.Preprocess)
		}
	}
}

// Every refusal says what is wrong and where.
func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*onnx.ModelProto)
	}{
		{"no tasks", `no "facet.tasks"`, func(m *onnx.ModelProto) { m.MetadataProps = m.MetadataProps[1:] }},
		{"no tasks: the outputs are listed", `"embedding_shape" [n 2], "embedding_colour" [n ?]`, func(m *onnx.ModelProto) { m.MetadataProps = m.MetadataProps[1:] }},
		{"no preprocessing", `no "facet.preprocess"`, func(m *onnx.ModelProto) { m.MetadataProps = m.MetadataProps[:1] }},
		{"tasks no JSON", "metadata facet.tasks: ", func(m *onnx.ModelProto) { m.SetMetadata(TasksKey, "shape, colour") }},
		{"two inputs", "the graph has 2 inputs (images, more", func(m *onnx.ModelProto) { m.Graph.Input = append(m.Graph.Input, onnx.NewImages("more")) }},
		{"no input", "the graph has 0 inputs", func(m *onnx.ModelProto) {
			m.Graph.Input = nil
			m.Graph.Initializer = append(m.Graph.Initializer, onnx.NewFloats("images", []int64{1, 3, 1, 1}, []float32{1, 2, 3}))
		}},
		{"input's type", `input "images": its type is UINT8, want FLOAT`, func(m *onnx.ModelProto) {
			m.Graph.Input[0].Type.GetTensorType().ElemType = new(int32(onnx.TensorProto_UINT8))
		}},
		{"input's rank", `input "images" has shape [n 3 4], want [N 3 4 6]`, func(m *onnx.ModelProto) { m.Graph.Input[0] = onnx.NewImages("images", 3, 4) }},
		{"input's size", "has shape [n 3 6 4], but the preprocessing yields [N 3 4 6]", func(m *onnx.ModelProto) { m.Graph.Input[0] = onnx.NewImages("images", 3, 6, 4) }},
		{"gray input", "has shape [n 1 4 6], but", func(m *onnx.ModelProto) { m.Graph.Input[0] = onnx.NewImages("images", 1, 4, 6) }},
		{"fixed batch", "its batch is fixed", func(m *onnx.ModelProto) { fixBatch(m.Graph.Input[0]) }},
		{"fixed batch of an output", "its batch is fixed", func(m *onnx.ModelProto) { fixBatch(m.Graph.Output[0]) }},
		{"no such output", `task "shape": the graph has no output "embedding_shape"`, func(m *onnx.ModelProto) { m.Graph.Output = m.Graph.Output[1:] }},
		{"declared dim", `task "shape", output "embedding_shape": its shape is [n 3], want [N 2]`, func(m *onnx.ModelProto) { m.Graph.Output[0] = onnx.NewImages("embedding_shape", 3) }},
		{"inferred dim", `for 2 images its shape is [2 2], want [2 5]`, func(m *onnx.ModelProto) {
			m.SetMetadata(TasksKey, strings.Replace(must(m.Metadata(TasksKey)), `colour","dim":2`, `colour","dim":5`, 1))
		}},
		{"output's rank", "its shape is [n 2 1], want [N 2]", func(m *onnx.ModelProto) { m.Graph.Output[0] = onnx.NewImages("embedding_shape", 2, 1) }},
		{"impure", `task "shape": node "ReduceL2/norm" (RandomNormalLike)`, func(m *onnx.ModelProto) { m.Graph.Node[4].OpType = new("RandomNormalLike") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := described(t)
			c.change(m)
			if _, err := Open(write(t, m), Overrides{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v\nwant one with %q", err, c.want)
			}
		})
	}
}

func must(s string, _ bool) string { return s }

func fixBatch(v *onnx.ValueInfoProto) {
	v.GetType().GetTensorType().GetShape().GetDim()[0].Value = &onnx.TensorShapeProto_Dimension_DimValue{DimValue: 1}
}

func TestTasksMetadata(t *testing.T) {
	const good = `{"name":"a","output":"o","dim":3,"metric":"l2","normalized":false}`
	for _, c := range []struct{ name, doc, want string }{
		{"good", `[` + good + `]`, ""},
		{"unknown key", `[{"colour":1,"name":"a","output":"o","dim":3,"metric":"l2","normalized":false}]`, `task 1: unknown key "colour"`},
		{"key's case", `[{"Name":"a","output":"o","dim":3,"metric":"l2","normalized":false}]`, `unknown key "Name"`},
		{"key twice", `[{"name":"a","name":"b","output":"o","dim":3,"metric":"l2","normalized":false}]`, `"name" is there twice`},
		{"key missing", `[` + good + `,{"name":"b","output":"o","dim":3,"metric":"l2"}]`, `task 2: key "normalized" is missing`},
		{"null", `[{"name":null,"output":"o","dim":3,"metric":"l2","normalized":false}]`, `"name" is null`},
		{"wrong type", `[{"name":"a","output":"o","dim":"3","metric":"l2","normalized":false}]`, "dim"},
		{"no list", good, "cannot unmarshal object"},
		{"list of numbers", `[3]`, "task 1: is not a JSON object"},
		{"trailing", `[` + good + `] x`, "after the end"},
		{"cut", `[` + good, "unexpected"},
	} {
		got, err := parseTasks(c.doc)
		if c.want == "" && (err != nil || len(got) != 1 || got[0].Dim != 3) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		} else if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	for name, list := range map[string][]pipeline.Task{
		"none": {}, "of one name": {tasks()[0], {Name: "shape", Output: "x", Dim: 1, Metric: "l2"}},
		"of one output": {tasks()[0], {Name: "x", Output: "embedding_shape", Dim: 1, Metric: "l2"}}, "without a dim": {{Name: "x", Output: "y", Metric: "l2"}},
	} {
		if checkTasks(list) == nil {
			t.Errorf("tasks %s were taken", name)
		}
	}
}

func TestPreprocessMetadata(t *testing.T) {
	const good = `{"resize":"shorter","size":[8,9],"crop":[4,6],"filter":"bilinear","mean":[0,0,0],"std":[1,1,1],"scale":1,` +
		`"channels":"bgr","orientation":"apply","background":[1,2,3]}`
	for _, c := range []struct{ name, old, new, want string }{
		{"good", "", "", ""},
		{"without crop", `"crop":[4,6],`, "", ""},
		{"unknown key", `"scale"`, `"gamma":2,"scale"`, `unknown key "gamma"`},
		{"missing key", `,"background":[1,2,3]`, "", `"background" is missing`},
		{"too few", "[0,0,0]", "[0,0]", `"mean" has 2 elements, want 3`},
		{"too many", "[8,9]", "[8,9,3]", `"size" has 3 elements, want 2`},
		{"crop of one", "[4,6]", "[4]", `"crop" has 1 elements, want 2`},
		{"colour out of range", "[1,2,3]", "[1,2,300]", "300"},
		{"no number", `"scale":1`, `"scale":"1/255"`, "scale"},
	} {
		got, err := parsePreprocess(strings.Replace(good, c.old, c.new, 1))
		if c.want == "" && (err != nil || got.Channels != "bgr" || got.Background != [3]uint8{1, 2, 3}) {
			t.Errorf("%s: %+v, %v", c.name, got, err)
		} else if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	for name, change := range map[string]func(*pipeline.Preprocess){
		"NaN":             func(p *pipeline.Preprocess) { p.Mean[1] = math.NaN() },
		"infinite":        func(p *pipeline.Preprocess) { p.Std[2] = 1e300 },
		"zero as float32": func(p *pipeline.Preprocess) { p.Std[2] = 1e-300 },
		"no filter":       func(p *pipeline.Preprocess) { p.Filter = "" },
	} {
		p := preprocess()
		change(&p)
		if checkPreprocess(p) == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestPreprocessDigest(t *testing.T) {
	shorter := preprocess()
	shorter.Resize = "shorter"
	for name, c := range map[string]struct {
		from   pipeline.Preprocess
		change func(*pipeline.Preprocess)
		same   bool
	}{
		"crop of the whole":    {shorter, func(p *pipeline.Preprocess) { p.Crop = p.Size }, true},
		"a decimal in float32": {preprocess(), func(p *pipeline.Preprocess) { p.Scale = 0.0039215687 }, true},
		"crop":                 {shorter, func(p *pipeline.Preprocess) { p.Crop = [2]int{2, 2} }, false},
		"size":                 {preprocess(), func(p *pipeline.Preprocess) { p.Size = [2]int{6, 4} }, false},
		"resize":               {preprocess(), func(p *pipeline.Preprocess) { p.Resize = "letterbox" }, false},
		"filter":               {preprocess(), func(p *pipeline.Preprocess) { p.Filter = "bicubic" }, false},
		"mean":                 {preprocess(), func(p *pipeline.Preprocess) { p.Mean[2] = 0.25 }, false},
		"std":                  {preprocess(), func(p *pipeline.Preprocess) { p.Std[0] = 2 }, false},
		"scale":                {preprocess(), func(p *pipeline.Preprocess) { p.Scale = 1 }, false},
		"channels":             {preprocess(), func(p *pipeline.Preprocess) { p.Channels = "bgr" }, false},
		"orientation":          {preprocess(), func(p *pipeline.Preprocess) { p.Orientation = "apply" }, false},
		"background":           {preprocess(), func(p *pipeline.Preprocess) { p.Background[1] = 0 }, false},
	} {
		p := c.from
		c.change(&p)
		if (PreprocessDigest(p) == PreprocessDigest(c.from)) != c.same {
			t.Errorf("%s: digests equal %v, want %v", name, !c.same, c.same)
		}
	}
	zero, negative := preprocess(), preprocess()
	zero.Mean[0], negative.Mean[0] = 0, math.Copysign(0, -1)
	if PreprocessDigest(zero) != PreprocessDigest(negative) {
		t.Error("-0 and 0 have different digests")
	}
	const want = "7273d3fb665d3514bd484d80eee45d9bb0d27277c98216fb6bb24d05e3b82992"
	if got := PreprocessDigest(preprocess()).String(); got != want {
		t.Errorf("digest %s: every published snapshot is computed again", got)
	}
}

func TestDigestText(t *testing.T) {
	want := PreprocessDigest(preprocess())
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Digest
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Errorf("%s came back as %v, %v", b, got, err)
	}
	for _, bad := range []string{"", "12", strings.Repeat("g", 64), strings.Repeat("0", 65)} {
		if got.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was taken for a digest", bad)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(write(f, described(f)))
	f.Add(write(f, tiny()))
	p := preprocess()
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, o := range []Overrides{{}, {Tasks: tasks(), Preprocess: &p}} {
			if m, err := Open(file, o); err == nil {
				_ = m.Inspect().String()
			}
		}
	})
}
