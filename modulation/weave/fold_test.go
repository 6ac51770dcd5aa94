package weave_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/enginetest"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/weave"
)

// parse makes a model of lines "Op in … -> out", on images [n 3 4 4], whose output is the [n 48] tensor y.
func parse(lines string) *onnx.ModelProto {
	g := &onnx.GraphProto{
		Name: new("test"), Input: []*onnx.ValueInfoProto{onnx.NewImages("images", 3, 4, 4)}, Output: []*onnx.ValueInfoProto{onnx.NewImages("y", 48)},
		Initializer: []*onnx.TensorProto{
			onnx.NewFloats("w", []int64{3, 3, 1, 1}, []float32{1, 2, -1, .5, 1, 3, -2, 1, 1}),
			onnx.NewFloats("w3", []int64{3, 1, 3, 3}, enginetest.Images(27)),
			onnx.NewFloats("b", []int64{3}, []float32{.5, -1, 2}),
			onnx.NewFloats("s", []int64{3, 1, 1}, []float32{2, .5, 0}),
			onnx.NewFloats("neg", []int64{3, 1, 1}, []float32{2, -.5, 1}),
			onnx.NewFloats("zero", nil, []float32{0}), onnx.NewFloats("six", nil, []float32{6}),
		},
	}
	for line := range strings.SplitSeq(lines, "; ") {
		f := strings.Fields(line)
		var a []*onnx.AttributeProto
		switch f[0] {
		case "Depthwise":
			f[0], a = "Conv", []*onnx.AttributeProto{onnx.NewInt("group", 3), onnx.NewIntList("pads", 1, 1, 1, 1)}
		case "MaxPool":
			a = []*onnx.AttributeProto{onnx.NewIntList("kernel_shape", 3, 3), onnx.NewIntList("pads", 1, 1, 1, 1)}
		}
		g.Node = append(g.Node, onnx.NewNode(f[0], f[1:len(f)-2], f[len(f)-1:], a...))
	}
	return onnx.NewModel(17, g)
}

// What folds into what: each case says which nodes are left.
func TestFold(t *testing.T) {
	images := enginetest.Images(2 * 48)
	run := func(m *onnx.ModelProto) [][]float32 {
		return enginetest.RunOutput(t, encode(t, m), 4, 4, "y", 48, images)
	}
	for name, c := range map[string]struct {
		graph string
		left  map[string]int
	}{
		"forward":                {"Mul images s -> a; Conv a w b -> c; Flatten c -> y", map[string]int{"Conv": 1}},
		"forward, both readers":  {"Mul images s -> a; Conv a w -> c; Depthwise a w3 b -> d; Add c d -> e; Flatten e -> y", map[string]int{"Conv": 2, "Add": 1}},
		"forward through":        {"Mul images s -> a; Relu a -> r; MaxPool r -> p; Conv p w -> c; Flatten c -> y", map[string]int{"Relu": 1, "MaxPool": 1, "Conv": 1}},
		"backward":               {"Conv images w b -> c; Relu c -> r; Mul r s -> a; Flatten a -> y", map[string]int{"Conv": 1, "Relu": 1}},
		"backward, any sign":     {"Conv images w b -> c; Mul c neg -> a; Flatten a -> y", map[string]int{"Conv": 1}},
		"a quotient and a shift": {"Conv images w -> c; Div c neg -> a; Sub a s -> e; Flatten e -> y", map[string]int{"Conv": 1}},
		"a sum of two":           {"Conv images w b -> c; Conv images w -> d; Add c d -> e; Mul e s -> a; Flatten a -> y", map[string]int{"Conv": 2, "Add": 1}},
		"two scales":             {"Mul images s -> a; Mul a s -> b2; Conv b2 w -> c; Flatten c -> y", map[string]int{"Conv": 1}},
		"not: a shortcut":        {"Mul images s -> a; Conv a w -> c; Add c a -> e; Flatten e -> y", map[string]int{"Mul": 1, "Conv": 1, "Add": 1}},
		"not: through ReLU6":     {"Conv images w -> c; Clip c zero six -> r; Mul r s -> a; Flatten a -> y", map[string]int{"Conv": 1, "Clip": 1, "Mul": 1}},
		"not: sign before ReLU":  {"Conv images w -> c; Relu c -> r; Mul r neg -> a; Flatten a -> y", map[string]int{"Conv": 1, "Relu": 1, "Mul": 1}},
		"not: shift before pads": {"Add images s -> a; Depthwise a w3 -> c; Flatten c -> y", map[string]int{"Add": 1, "Conv": 1}},
		"not: another reader":    {"Conv images w -> c; Mul c neg -> a; Add a c -> e; Flatten e -> y", map[string]int{"Conv": 1, "Mul": 1, "Add": 1}},
		"past what can be shared": {"Conv images w -> c; Mul c s -> a; Relu a -> r; Mul c s -> a2; Relu a2 -> r2; Add r r2 -> e; Add e c -> f; Flatten f -> y",
			map[string]int{"Conv": 1, "Mul": 1, "Relu": 1, "Add": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			m := parse(c.graph)
			folded, err := weave.Fold(m, weave.Folding{})
			if err != nil {
				t.Fatal(err)
			}
			left := map[string]int{}
			for _, n := range folded.GetGraph().GetNode() {
				left[n.GetOpType()]++
			}
			delete(left, "Flatten")
			if !maps.Equal(left, c.left) {
				t.Errorf("left are %v, want %v", left, c.left)
			}
			enginetest.Compare(t, run(folded), run(m), enginetest.Tolerance)
		})
	}
}

func encode(t *testing.T, m *onnx.ModelProto) []byte {
	t.Helper()
	b, err := onnx.Write(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
