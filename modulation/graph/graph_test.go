package graph

import (
	"fmt"
	"strings"
	"testing"

	"github.com/facet-search/facet/modulation/onnx"
)

func node(op, inputs, output string, attributes ...*onnx.AttributeProto) *onnx.NodeProto {
	return onnx.NewNode(op, strings.Fields(strings.ReplaceAll(inputs, ",", " ")), []string{output}, attributes...)
}

func floats(name string, dims []int64, v ...float32) *onnx.TensorProto {
	return onnx.NewFloats(name, dims, v)
}

// twoTasks is the paper's idea at its smallest: a trunk, then a scale and a head a task.
func twoTasks() *onnx.ModelProto {
	return onnx.NewModel(17, &onnx.GraphProto{
		Node: []*onnx.NodeProto{
			node("Conv", "x w b", "trunk", onnx.NewIntList("pads", 1, 1, 1, 1), onnx.NewIntList("kernel_shape", 3, 3)),
			node("Relu", "sa", "ra"),
			node("Mul", "trunk ra", "ma"),
			node("GlobalAveragePool", "ma", "pa"),
			node("Flatten", "pa", "a"),
			node("Relu", "sb", "rb"),
			node("Mul", "trunk rb", "mb"),
			node("GlobalAveragePool", "mb", "pb"),
			node("Flatten", "pb", "b_out"),
		},
		Initializer: []*onnx.TensorProto{
			floats("w", []int64{2, 3, 3, 3}, make([]float32, 54)...), floats("b", []int64{2}, 1, 2),
			floats("sa", []int64{1, 2, 1, 1}, 1, 2), floats("sb", []int64{1, 2, 1, 1}, 3, 4),
			floats("unused", []int64{5}, 1, 2, 3, 4, 5),
		},
		Input:  []*onnx.ValueInfoProto{onnx.NewImages("x", 3, 4, 4)},
		Output: []*onnx.ValueInfoProto{onnx.NewImages("a", 2), onnx.NewImages("b_out", 2)},
	})
}

func mustNew(t testing.TB, m *onnx.ModelProto) *Graph {
	t.Helper()
	g, err := New(m)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*onnx.GraphProto, *onnx.ModelProto)
	}{
		{"cycle", `"Flatten/a" (Flatten) depends on its own output`, func(g *onnx.GraphProto, _ *onnx.ModelProto) {
			g.Node = append(g.Node, node("Add", "a back", "loop"), node("Relu", "loop", "back"))
			g.Node[4].Input = []string{"back"}
		}},
		{"itself", "depends on its own output", func(g *onnx.GraphProto, _ *onnx.ModelProto) { g.Node[4].Input = []string{"a"} }},
		{"missing tensor", `reads "nowhere", which is no input`, func(g *onnx.GraphProto, _ *onnx.ModelProto) { g.Node[4].Input = []string{"nowhere"} }},
		{"made twice", `yields "pa", which is there already`, func(g *onnx.GraphProto, _ *onnx.ModelProto) { g.Node[4].Output = []string{"pa"} }},
		{"shadows an input", `yields "x", which`, func(g *onnx.GraphProto, _ *onnx.ModelProto) { g.Node[4].Output = []string{"x"} }},
		{"shadows a weight", `yields "w", which`, func(g *onnx.GraphProto, _ *onnx.ModelProto) { g.Node[4].Output = []string{"w"} }},
		{"weights of one name", `two initialisers are named "w"`, func(g *onnx.GraphProto, _ *onnx.ModelProto) { g.Initializer[1].Name = new("w") }},
		{"inputs of one name", `input "x" has no name or one that is taken`, func(g *onnx.GraphProto, _ *onnx.ModelProto) { g.Input = append(g.Input, g.Input[0]) }},
		{"control flow", "control flow is not supported", func(g *onnx.GraphProto, _ *onnx.ModelProto) {
			g.Node[4].Attribute = []*onnx.AttributeProto{{Name: new("then_branch"), G: &onnx.GraphProto{}}}
		}},
		{"attributes of one name", `two attributes "axis"`, func(g *onnx.GraphProto, _ *onnx.ModelProto) {
			g.Node[4].Attribute = []*onnx.AttributeProto{onnx.NewInt("axis", 1), onnx.NewInt("axis", 2)}
		}},
		{"function", "inline it first", func(_ *onnx.GraphProto, m *onnx.ModelProto) {
			m.Functions = []*onnx.FunctionProto{{Name: new("Flatten"), Domain: new("")}}
		}},
		{"odd constant", "no constant that Facet reads", func(g *onnx.GraphProto, _ *onnx.ModelProto) {
			g.Node = append(g.Node, node("Constant", "", "k", onnx.NewInt("sparse_value", 1)))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := twoTasks()
			c.change(m.Graph, m)
			if _, err := New(m); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// A chain as long as a hostile file can make it costs neither stack nor quadratic time.
func TestLongChains(t *testing.T) {
	const n = 100_000
	for _, op := range []string{"Relu", "Identity"} {
		m := twoTasks()
		for i := range n {
			in := fmt.Sprintf("chain%d", i-1)
			if i == 0 {
				in = "a"
			}
			m.Graph.Node = append(m.Graph.Node, node(op, in, fmt.Sprintf("chain%d", i)))
		}
		g := mustNew(t, m)
		last := fmt.Sprintf("chain%d", n-1)
		d, err := g.Digest(last)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := g.Digest("a"); err != nil || (a == d) != (op == "Identity") {
			t.Errorf("%s: %x after the chain, %x before, %v", op, d, a, err)
		}
		if s := g.Infer(map[string]Shape{"x": {1, 3, 4, 4}}).Of(last); len(s) != 2 || s[1] != 2 {
			t.Errorf("%s: shape %v at the end of the chain, want [1 2]", op, s)
		}
	}
}
