package exchange

import (
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/enginetest"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/network"
)

func read(t testing.TB, file []byte) *onnx.ModelProto {
	t.Helper()
	m, err := onnx.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A network that goes out as ONNX comes back with the same outputs, by training's own engine, whether
// anything else has folded the file in between or not.
func TestRoundTrip(t *testing.T) {
	for name, n := range enginetest.Nets() {
		t.Run(name, func(t *testing.T) {
			ps := enginetest.Trained(t, n)
			images := enginetest.Images(2 * n.Image.Size())
			want := embed(t, n, ps, images)
			file := export(t, n, ps)
			enginetest.Compare(t, enginetest.Run(t, file, images), want, enginetest.Tolerance)
			back, values, err := Import(read(t, file), Source{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(back.Tasks, n.Tasks) || back.Image != n.Image {
				t.Errorf("tasks %v of images %v came back as %v of %v", n.Tasks, n.Image, back.Tasks, back.Image)
			}
			enginetest.Compare(t, embed(t, back, values, images), want, enginetest.Tolerance)
			all, task := ps.Count()
			if a, b := values.Count(); a > all || b > task {
				t.Errorf("%d parameters, %d a task, came back as %d and %d", all, task, a, b)
			}
			folded, err := modulation.Fold(file, 0)
			if err != nil {
				t.Fatal(err)
			}
			enginetest.Compare(t, enginetest.Run(t, folded, images), want, enginetest.Tolerance)
			if back, values, err = Import(read(t, folded), Source{}); err != nil {
				t.Fatal(err)
			}
			enginetest.Compare(t, embed(t, back, values, images), want, enginetest.Tolerance)
		})
	}
}

// The paper's network comes back as it was written: what belongs to a task still does.
func TestImportKeepsTasksApart(t *testing.T) {
	n := enginetest.Nets()["paper"]
	back, values, err := Import(read(t, export(t, n, enginetest.Trained(t, n))), Source{})
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range back.Nodes {
		if _, scale := node.Op.(network.Modulation); scale != node.PerTask {
			t.Errorf("node %q (%T) is a task's own: %v", node.Name, node.Op, node.PerTask)
		}
	}
	if d, all := values.DeadScales(1); d == 0 || all != 8+8+6 {
		t.Errorf("%d of %d scales are dead, want some of 22", d, all)
	}
}

// graphOf is a model of nodes written as "Op in in -> out", on images [n 3 6 8].
func graphOf(weights map[string]*onnx.TensorProto, nodes ...*onnx.NodeProto) *onnx.ModelProto {
	g := &onnx.GraphProto{Name: new("test"), Node: nodes, Input: []*onnx.ValueInfoProto{onnx.NewImages("images", 3, 6, 8)},
		Output: []*onnx.ValueInfoProto{onnx.NewImages("y", -1)}}
	for name, w := range weights {
		w.Name = &name
		g.Initializer = append(g.Initializer, w)
	}
	return onnx.NewModel(17, g)
}

func do(op, in, out string, a ...*onnx.AttributeProto) *onnx.NodeProto {
	return onnx.NewNode(op, strings.Fields(in), []string{out}, a...)
}

func weightsOf(t testing.TB) map[string]*onnx.TensorProto {
	f := func(v []float32, dims ...int64) *onnx.TensorProto { return onnx.NewFloats("", dims, v) }
	x := enginetest.Images(200)
	return map[string]*onnx.TensorProto{
		"w": f(x[:108], 4, 3, 3, 3), "b": f(x[:4], 4), "m": f(x[:20], 4, 5), "v": f(x[20:25], 5), "negative": f([]float32{-1, 2, 3, 4}, 4, 1, 1),
		"zero": f([]float32{0}), "six": f([]float32{6}), "tiny": f([]float32{1e-12}), "two": f([]float32{2}), "half": f([]float32{.5}),
		"double": {DataType: new(int32(onnx.TensorProto_DOUBLE)), DoubleData: []float64{1e-12}},
		"flat":   onnx.NewInts("", []int64{2}, []int64{0, -1}), "plane": onnx.NewInts("", []int64{2}, []int64{2, 3}), "one": onnx.NewInts("", []int64{1}, []int64{1}),
	}
}

// ends are spellings of the L2 normalisation of x.
func ends() map[string][]*onnx.NodeProto {
	axes := onnx.NewIntList("axes", 1)
	keep := onnx.NewInt("keepdims", 1)
	norm := do("ReduceL2", "x", "l", axes, keep)
	return map[string][]*onnx.NodeProto{
		"LpNormalization":    {do("LpNormalization", "x", "y", onnx.NewInt("axis", 1), onnx.NewInt("p", 2))},
		"F.normalize":        {norm, do("Cast", "tiny", "t", onnx.NewInt("to", 1)), do("Clip", "l t", "c"), do("Shape", "x", "s"), do("Expand", "c s", "e"), do("Div", "x e", "y")},
		"x / x.norm()":       {norm, do("Div", "x l", "y")},
		"a double bound":     {norm, do("Cast", "double", "t", onnx.NewInt("to", 1)), do("Clip", "l t", "c"), do("Div", "x c", "y")},
		"maximum":            {norm, do("Max", "l tiny", "c"), do("Div", "x c", "y")},
		"sqrt(sum(x*x))":     {do("Mul", "x x", "q"), do("ReduceSum", "q one", "u", keep), do("Sqrt", "u", "l"), do("Add", "l tiny", "c"), do("Div", "x c", "y")},
		"x**2, reciprocal":   {do("Pow", "x two", "q"), do("ReduceSum", "q one", "u", keep), do("Add", "u tiny", "a"), do("Pow", "a half", "l"), do("Reciprocal", "l", "r"), do("Mul", "r x", "y")},
		"sum square, bounds": {do("ReduceSumSquare", "x", "u", onnx.NewIntList("axes", -1), keep), do("Clip", "u tiny", "a"), do("Sqrt", "a", "l"), do("Div", "x l", "y")},
	}
}

// trunkOf spells what other exporters write in their own ways.
func trunkOf() []*onnx.NodeProto {
	return []*onnx.NodeProto{
		do("Conv", "images w", "t1", onnx.NewIntList("strides", 2, 2), &onnx.AttributeProto{Name: new("auto_pad"), Type: onnx.AttributeProto_STRING.Enum(), S: []byte("SAME_UPPER")}),
		do("Identity", "t1", "t2"), do("Clip", "t2 zero six", "t3"), do("Mul", "negative t3", "n"), do("Add", "n n", "p"),
		do("ReduceMean", "p", "g", onnx.NewIntList("axes", -1, -2), onnx.NewInt("keepdims", 0)),
		do("MatMul", "g m", "d"), do("Add", "v d", "x"),
	}
}

func TestImportReadsExportersSpellings(t *testing.T) {
	task := modulationTasks("y", 5)
	images := enginetest.Images(3 * 3 * 6 * 8)
	for name, end := range ends() {
		t.Run(name, func(t *testing.T) {
			m := graphOf(weightsOf(t), slices.Concat(trunkOf(), end)...)
			if err := modulation.SetMetadata(m, task, preprocess(6, 8)); err != nil {
				t.Fatal(err)
			}
			file, err := onnx.Write(m)
			if err != nil {
				t.Fatal(err)
			}
			n, ps, err := Import(read(t, file), Source{Tasks: []string{"y"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := n.Nodes[len(n.Nodes)-1].Op.(network.Normalize); !ok {
				t.Error("the last node does not normalise")
			}
			enginetest.Compare(t, embed(t, n, ps, images), enginetest.Run(t, file, images), enginetest.Tolerance)
		})
	}
}

// One backbone with one output serves several tasks, cut where the caller says.
func TestImportForSeveralTasks(t *testing.T) {
	m := graphOf(weightsOf(t), slices.Concat(trunkOf(), ends()["x / x.norm()"])...)
	n, ps, err := Import(m, Source{Outputs: []string{"g"}, Tasks: []string{"a", "b"}, Image: [2]int{12, 16}})
	if err != nil {
		t.Fatal(err)
	}
	if n.Image != (network.Shape{3, 12, 16}) || n.Dim() != 4 || len(n.Tasks) != 2 {
		t.Errorf("images %v, dim %d, tasks %v", n.Image, n.Dim(), n.Tasks)
	}
	if out := embed(t, n, ps, enginetest.Images(n.Image.Size())); len(out[0]) != 4 || !slices.Equal(out[0], out[1]) {
		t.Errorf("embeddings %v", out)
	}
}

func TestImportRefuses(t *testing.T) {
	pool := func(a ...*onnx.AttributeProto) []*onnx.NodeProto {
		return []*onnx.NodeProto{do("MaxPool", "images", "p", append(a, onnx.NewIntList("kernel_shape", 3, 3))...), do("Flatten", "p", "y")}
	}
	for _, c := range []struct {
		name, want string
		nodes      []*onnx.NodeProto
	}{
		{"operator", `node "Sigmoid/y" (Sigmoid): this operator cannot be trained here, which can: Conv,`, []*onnx.NodeProto{do("Sigmoid", "images", "y")}},
		{"dilation", `node "MaxPool/p" (MaxPool): its window is not 2-dimensional or is dilated`, pool(onnx.NewIntList("dilations", 2, 2))},
		{"rounding", "ceil_mode", pool(onnx.NewInt("ceil_mode", 1), onnx.NewIntList("strides", 2, 2))},
		{"product", `node "Mul/y" (Mul): it combines tensors`, []*onnx.NodeProto{do("Mul", "images images", "y")}},
		{"image output", "want a vector", []*onnx.NodeProto{do("Relu", "images", "y")}},
		{"norm in between", "Normalize must be the last", []*onnx.NodeProto{do("Flatten", "images", "f"), do("LpNormalization", "f", "x"), do("Relu", "x", "y")}},
		{"clip", `node "Clip/y" (Clip): it does not clip at 0`, []*onnx.NodeProto{do("Clip", "images six", "y")}},
		{"computed weights", "is not constant", []*onnx.NodeProto{do("Conv", "images images", "y")}},
		{"mean", "want height and width", []*onnx.NodeProto{do("ReduceMean", "images", "y", onnx.NewIntList("axes", 1))}},
		{"axes of the batch", "only axes of one image", []*onnx.NodeProto{do("Flatten", "images", "y", onnx.NewInt("axis", 2))}},
		{"no producer", "no node yields it", []*onnx.NodeProto{do("Flatten", "images", "z")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := graphOf(weightsOf(t), c.nodes...)
			if c.name == "no producer" {
				m.Graph.Output = []*onnx.ValueInfoProto{onnx.NewImages("images", 3, 6, 8)}
			}
			if _, _, err := Import(m, Source{Tasks: []string{"y"}}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant one with %q", err, c.want)
			}
		})
	}
}
