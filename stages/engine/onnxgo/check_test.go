package onnxgo

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/facet-search/facet/stages/engine"
)

func spec() engine.Spec {
	return engine.Spec{Input: "images", Height: 6, Width: 6, Outputs: []string{"embedding"}, Dims: []int{5}}
}

func ints(v ...int64) attribute { return attribute{ints: v} }

// allowed is a graph within the rules: convolution, scale, pool, head.
func allowed() *graph {
	return &graph{
		opset:  17,
		inputs: []value{{"images", []int64{-1, 3, 6, 6}}},
		values: []value{{"embedding", []int64{-1, 5}}},
		nodes: []node{
			{"conv", "Conv", "", []string{"images", "w", "b"}, []string{"c"},
				map[string]attribute{"kernel_shape": ints(3, 3), "pads": ints(1, 1, 1, 1), "group": {i: 1}}},
			{"scale", "Mul", "", []string{"c", "s"}, []string{"m"}, nil},
			{"pool", "MaxPool", "", []string{"m"}, []string{"p"}, map[string]attribute{"kernel_shape": ints(2, 2), "strides": ints(2, 2)}},
			{"mean", "GlobalAveragePool", "", []string{"p"}, []string{"g"}, nil},
			{"row", "Flatten", "", []string{"g"}, []string{"f"}, map[string]attribute{"axis": {i: 1}}},
			{"head", "Gemm", "", []string{"f", "fc", "bias"}, []string{"embedding"}, map[string]attribute{"transB": {i: 1}}},
		},
		weights: map[string]weight{
			"w": {[]int64{4, 3, 3, 3}, 1}, "b": {[]int64{4}, 1}, "s": {[]int64{4, 1, 1}, 1},
			"fc": {[]int64{5, 4}, 1}, "bias": {[]int64{5}, 1},
		},
	}
}

func TestCheckTakesWhatIsRight(t *testing.T) {
	if err := check(allowed(), spec()); err != nil {
		t.Fatal(err)
	}
}

// Every graph that onnx-go is known to compute wrongly, or not at all, is refused by its node.
func TestCheckRefuses(t *testing.T) {
	set := func(i int, name string, a attribute) func(*graph) {
		return func(g *graph) {
			if g.nodes[i].attributes == nil {
				g.nodes[i].attributes = map[string]attribute{}
			}
			g.nodes[i].attributes[name] = a
		}
	}
	op := func(i int, name string) func(*graph) { return func(g *graph) { g.nodes[i].op = name } }
	more := func(n node) func(*graph) { return func(g *graph) { g.nodes = append(g.nodes, n) } }
	shape := func(name string, dims ...int64) func(*graph) {
		return func(g *graph) { g.weights[name] = weight{dims, 1} }
	}
	in := func(i int, names ...string) func(*graph) { return func(g *graph) { g.nodes[i].in = names } }
	for _, c := range []struct {
		name, want string
		change     func(*graph)
	}{
		{"ReLU6 is Clip", `node "mean" (Clip): the operator is not on the list`, op(3, "Clip")},
		{"ReduceMean", `node "mean" (ReduceMean): the operator`, op(3, "ReduceMean")},
		{"AveragePool", `node "pool" (AveragePool): the operator`, op(2, "AveragePool")},
		{"batch normalisation, merged with others of its input", `(BatchNormalization): the operator`, op(3, "BatchNormalization")},
		{"another domain's", `node "mean" (GlobalAveragePool): the operator`, func(g *graph) { g.nodes[3].domain = "com.microsoft" }},
		{"grouped convolution", `node "conv" (Conv): grouped`, set(0, "group", attribute{i: 3})},
		{"asymmetric pads", `node "conv" (Conv): pads [0 0 1 1] differ`, set(0, "pads", ints(0, 0, 1, 1))},
		{"pads by axis", `pads [1 0 1 0] differ`, set(0, "pads", ints(1, 0, 1, 0))},
		{"asymmetric pads of a pool", `node "pool" (MaxPool): pads [1 1 0 0] differ`, set(2, "pads", ints(1, 1, 0, 0))},
		{"auto_pad", `auto_pad SAME_UPPER`, set(0, "auto_pad", attribute{s: "SAME_UPPER"})},
		{"kernel not written out", `kernel_shape is []`, func(g *graph) { delete(g.nodes[0].attributes, "kernel_shape") }},
		{"kernel too large", `does not fit`, set(2, "kernel_shape", ints(7, 7))},
		{"strides of 0", `strides is [0 1]`, set(0, "strides", ints(0, 1))},
		{"dilated pool", `attribute "dilations"`, set(2, "dilations", ints(1, 1))},
		{"ceil_mode", `only without ceil_mode`, set(2, "ceil_mode", attribute{i: 1})},
		{"unknown attribute", `node "row" (Flatten): with the attribute "allow"`, set(4, "allow", attribute{})},
		{"Flatten of another axis", `only axis 1`, set(4, "axis", attribute{i: 2})},
		{"Flatten of what others read", `other nodes read "g" too`, more(node{"", "Neg", "", []string{"g"}, []string{"n"}, nil})},
		{"Gemm without a bias", `node "head" (Gemm): 2 inputs`, in(5, "f", "fc")},
		{"Gemm whose bias is shared", `its bias "bias" is read by another node`, more(node{"", "Gemm", "", []string{"f", "fc", "bias"}, []string{"e"}, map[string]attribute{"transB": {i: 1}}})},
		{"Gemm whose bias is computed", `"p", is not an initialiser`, in(5, "f", "fc", "p")},
		{"Gemm of a transposed input", `does not fit`, set(5, "transA", attribute{i: 1})},
		{"Gemm whose weights do not fit", `weights [5 3] and bias [5] do not fit [1 4]`, shape("fc", 5, 3)},
		{"scale [1 C 1 1]", `node "scale" (Mul): its constant is [1 4 1 1]`, shape("s", 1, 4, 1, 1)},
		{"scale whose axis is guessed", `its constant is [6]`, shape("s", 6)},
		{"scalar", `its constant is []`, shape("s")},
		{"constant first", `its first input is a constant`, in(1, "s", "c")},
		{"an operand twice", `reads "c" twice`, in(1, "c", "c")},
		{"broadcast of computed values", `a broadcast that onnx-go guesses`, in(1, "c", "images")},
		{"constant folding", `its first input is a constant`, func(g *graph) { g.nodes[1] = node{"", "Relu", "", []string{"s"}, []string{"m"}, nil} }},
		{"computed weights", `node "scale" (Conv): its input 1, "c", is not an initialiser`, func(g *graph) {
			g.nodes[1].op, g.nodes[1].in = "Conv", []string{"images", "c"}
		}},
		{"integer weights", `the constant "w" is not float32`, func(g *graph) { g.weights["w"] = weight{[]int64{4, 3, 3, 3}, 10} }},
		{"weights that do not fit", `weights [4 1 3 3] do not fit`, shape("w", 4, 1, 3, 3)},
		{"bias that does not fit", `its bias is [3]`, shape("b", 3)},
		{"the same twice", `another node computes the same`, more(node{"", "GlobalAveragePool", "", []string{"p"}, []string{"g2"}, nil})},
		{"out of order", `reads "later", which nothing before it yields`, in(1, "later", "s")},
		{"yielded twice", `yields "c", which is there already`, func(g *graph) { g.nodes[1].out = []string{"c"} }},
		{"two outputs", `1 inputs and 2 outputs`, func(g *graph) { g.nodes[2].out = []string{"p", "indices"} }},
		{"output read by a node", `the output "embedding" is also read`, more(node{"", "Relu", "", []string{"embedding"}, []string{"r"}, nil})},
		{"no such output", `no node yields the output "embedding"`, func(g *graph) { g.nodes[5].out = []string{"other"} }},
		{"output of another length", `has shape [1 7] an image, want [1 5]`, func(g *graph) { shape("fc", 7, 4)(g); shape("bias", 7)(g) }},
		{"operator set", "operator set 22", func(g *graph) { g.opset = 22 }},
		{"two inputs", `must have the single input "images"`, func(g *graph) { g.inputs = append(g.inputs, value{"more", nil}) }},
		{"huge declared value", `is declared with shape`, func(g *graph) { g.values[0].dims = []int64{1 << 40, 1 << 40} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := allowed()
			c.change(g)
			if err := check(g, spec()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v\nwant one with %q", err, c.want)
			}
		})
	}
}

// Files of all kinds come out of parse as what they say, or as an error.
func TestParse(t *testing.T) {
	file, err := os.ReadFile("testdata/modulated.onnx")
	if err != nil {
		t.Fatal(err)
	}
	g, err := parse(file)
	if err != nil {
		t.Fatal(err)
	}
	if g.opset != 17 || len(g.nodes) != 30 || len(g.weights) != 14 || len(g.inputs) != 1 || len(g.inputs[0].dims) != 4 || g.inputs[0].dims[0] != -1 {
		t.Errorf("parsed opset %d, %d nodes, %d weights, inputs %v", g.opset, len(g.nodes), len(g.weights), g.inputs)
	}
	if n := g.nodes[0]; n.op != "Conv" || len(n.attributes["pads"].ints) != 4 || n.in[1] != "w0" {
		t.Errorf("first node %+v", n)
	}
	for _, bad := range []string{"", "<html>", "\x3a\x05ab"} {
		if _, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q was taken for a model", bad)
		}
	}
}

func TestOpenRefusesBeforeItRuns(t *testing.T) {
	file, err := os.ReadFile("testdata/modulated.onnx")
	if err != nil {
		t.Fatal(err)
	}
	s := engine.Spec{Input: "images", Height: 6, Width: 8, Outputs: []string{"embedding_a"}, Dims: []int{7}}
	if _, err := Open(file, s); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `"embedding_a" has shape [1 6]`) {
		t.Errorf("error %v, want the output's shape", err)
	}
}

func FuzzCheck(f *testing.F) {
	for _, name := range []string{"modulated", "operators"} {
		file, err := os.ReadFile("testdata/" + name + ".onnx")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file[:min(len(file), 3200)])
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if g, err := parse(file); err == nil {
			_ = check(g, engine.Spec{Input: "images", Height: 6, Width: 8, Outputs: []string{"embedding_a"}, Dims: []int{6}})
		}
	})
}
