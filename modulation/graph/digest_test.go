package graph

import (
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/facet-search/facet/modulation/onnx"
)

func digests(t testing.TB, m *onnx.ModelProto) (a, b hash) {
	t.Helper()
	g := mustNew(t, m)
	outputs := m.GetGraph().GetOutput()
	a, err := g.Digest(outputs[0].GetName())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = g.Digest(outputs[1].GetName()); err != nil {
		t.Fatal(err)
	}
	return a, b
}

func weight(m *onnx.ModelProto, name string) *onnx.TensorProto {
	i := slices.IndexFunc(m.Graph.Initializer, func(t *onnx.TensorProto) bool { return t.GetName() == name })
	return m.Graph.Initializer[i]
}

// toConstantNode turns an initialiser into a Constant node's value.
func toConstantNode(m *onnx.ModelProto, name string) {
	w := weight(m, name)
	m.Graph.Initializer = slices.DeleteFunc(m.Graph.Initializer, func(t *onnx.TensorProto) bool { return t == w })
	w.Name = nil
	m.Graph.Node = append(m.Graph.Node, node("Constant", "", name, onnx.NewTensor("value", w)))
}

func rename(m *onnx.ModelProto) {
	to := func(s string) string {
		if s == "" {
			return ""
		}
		return "other/" + s
	}
	for _, n := range m.Graph.Node {
		n.Name, n.DocString = new(to(n.GetName())), new("renamed")
		for i := range n.Input {
			n.Input[i] = to(n.Input[i])
		}
		for i := range n.Output {
			n.Output[i] = to(n.Output[i])
		}
	}
	for _, w := range m.Graph.Initializer {
		w.Name = new(to(w.GetName()))
	}
	for _, v := range slices.Concat(m.Graph.Input, m.Graph.Output) {
		v.Name = new(to(v.GetName()))
	}
}

func shuffle[T any](list []T) {
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
}

// What does not change an embedding does not change its digest.
func TestDigestIsIndependentOf(t *testing.T) {
	wantA, wantB := digests(t, twoTasks())
	if wantA == wantB {
		t.Fatal("two tasks with different scales have the same digest")
	}
	for name, change := range map[string]func(*onnx.ModelProto){
		"nothing":               func(*onnx.ModelProto) {},
		"order of nodes":        func(m *onnx.ModelProto) { shuffle(m.Graph.Node) },
		"order of initialisers": func(m *onnx.ModelProto) { shuffle(m.Graph.Initializer) },
		"order of attributes":   func(m *onnx.ModelProto) { slices.Reverse(m.Graph.Node[0].Attribute) },
		"names":                 rename,
		"unused initialisers":   func(m *onnx.ModelProto) { m.Graph.Initializer = m.Graph.Initializer[:4] },
		"unused nodes":          func(m *onnx.ModelProto) { m.Graph.Node = append(m.Graph.Node, node("Sin", "x", "more")) },
		"a scale as a Constant": func(m *onnx.ModelProto) { toConstantNode(m, "sa") },
		"float_data": func(m *onnx.ModelProto) {
			w := weight(m, "sa")
			w.RawData, w.FloatData = nil, []float32{1, 2}
		},
		"Identity": func(m *onnx.ModelProto) {
			m.Graph.Node = append(m.Graph.Node, node("Identity", "trunk", "same"), node("Identity", "sa", "sa2"))
			m.Graph.Node[1].Input[0], m.Graph.Node[2].Input[0] = "sa2", "same"
		},
		"a copy of a weight": func(m *onnx.ModelProto) {
			w := proto.Clone(weight(m, "b")).(*onnx.TensorProto)
			w.Name = new("copy")
			m.Graph.Initializer = append(m.Graph.Initializer, w)
			m.Graph.Node[0].Input[2] = "copy"
		},
		"spelling of the domain": func(m *onnx.ModelProto) { m.Graph.Node[0].Domain = new("ai.onnx") },
		"declared shapes":        func(m *onnx.ModelProto) { m.Graph.Input[0] = onnx.NewImages("x", -1, -1, -1) },
		"initialisers among inputs": func(m *onnx.ModelProto) {
			m.Graph.Input = append([]*onnx.ValueInfoProto{{Name: new("w")}}, m.Graph.Input...)
		},
		"empty names at the list's end": func(m *onnx.ModelProto) { m.Graph.Node[1].Input = append(m.Graph.Node[1].Input, "", "") },
		"other domains": func(m *onnx.ModelProto) {
			m.OpsetImport = append(m.OpsetImport, &onnx.OperatorSetIdProto{Domain: new("x")})
		},
		"metadata": func(m *onnx.ModelProto) { m.SetMetadata("k", "v") },
	} {
		m := twoTasks()
		change(m)
		if a, b := digests(t, m); a != wantA || b != wantB {
			t.Errorf("%s: digests changed: %v %v", name, a != wantA, b != wantB)
		}
	}
}

// What may change an embedding changes the digest of the tasks it reaches, and of no other.
func TestDigestDependsOn(t *testing.T) {
	wantA, wantB := digests(t, twoTasks())
	for name, c := range map[string]struct {
		change func(*onnx.ModelProto)
		b      bool // whether task b changes too
	}{
		"one task's scale":      {func(m *onnx.ModelProto) { weight(m, "sa").RawData[0] ^= 1 }, false},
		"one task's operator":   {func(m *onnx.ModelProto) { m.Graph.Node[3].OpType = new("GlobalMaxPool") }, false},
		"a weight":              {func(m *onnx.ModelProto) { weight(m, "w").RawData[7] ^= 1 }, true},
		"a weight's shape":      {func(m *onnx.ModelProto) { weight(m, "b").Dims = []int64{2, 1} }, true},
		"a weight's type":       {func(m *onnx.ModelProto) { weight(m, "b").DataType = new(int32(onnx.TensorProto_INT32)) }, true},
		"an attribute":          {func(m *onnx.ModelProto) { m.Graph.Node[0].Attribute[0].Ints[3] = 0 }, true},
		"a default written out": {func(m *onnx.ModelProto) { m.Graph.Node[4].Attribute = []*onnx.AttributeProto{onnx.NewInt("axis", 1)} }, false},
		"an attribute's type":   {func(m *onnx.ModelProto) { m.Graph.Node[0].Attribute[0].Type = onnx.AttributeProto_FLOATS.Enum() }, true},
		"the operator set":      {func(m *onnx.ModelProto) { m.OpsetImport[0].Version = new(int64(18)) }, true},
		"the domain":            {func(m *onnx.ModelProto) { otherDomain(m, m.Graph.Node[3]) }, false},
		"the order of inputs":   {func(m *onnx.ModelProto) { slices.Reverse(m.Graph.Node[2].Input) }, false},
		"the input's position": {func(m *onnx.ModelProto) {
			m.Graph.Input = append([]*onnx.ValueInfoProto{onnx.NewImages("y")}, m.Graph.Input...)
		}, true},
		"the number of outputs":  {func(m *onnx.ModelProto) { m.Graph.Node[3].Output = append(m.Graph.Node[3].Output, "second") }, false},
		"which output":           {func(m *onnx.ModelProto) { m.Graph.Node[3].Output = []string{"second", "pa"} }, false},
		"an input left out":      {func(m *onnx.ModelProto) { m.Graph.Node[1].Input = []string{"", "sa"} }, false},
		"a constant to an input": {func(m *onnx.ModelProto) { m.Graph.Node[1].Input = []string{"x"} }, false},
	} {
		m := twoTasks()
		c.change(m)
		if a, b := digests(t, m); a == wantA || (b != wantB) != c.b {
			t.Errorf("%s: task a changed: %v, want true; task b changed: %v, want %v", name, a != wantA, b != wantB, c.b)
		}
	}
}

func otherDomain(m *onnx.ModelProto, n *onnx.NodeProto) {
	n.Domain = new("com.example")
	m.OpsetImport = append(m.OpsetImport, &onnx.OperatorSetIdProto{Domain: new("com.example"), Version: new(int64(17))})
}

// The digest is a format: snapshots hold it.
func TestDigestIsStable(t *testing.T) {
	a, b := digests(t, twoTasks())
	const (
		wantA = "f131c1853ca75f918c6d35ddb60056350e2b70265ccb9a7462dff299575cf737"
		wantB = "04005a65f0fa19cd85d56bef605534ec7e6454ed069eb1a11b858de2c96e77ef"
	)
	if hex.EncodeToString(a[:]) != wantA || hex.EncodeToString(b[:]) != wantB {
		t.Errorf("digests are\n%x\n%x: rows of every published snapshot are computed again", a, b)
	}
}

func TestDigestRefuses(t *testing.T) {
	for _, c := range []struct {
		name, want string
		change     func(*onnx.ModelProto)
	}{
		{"random numbers", "random", func(m *onnx.ModelProto) { m.Graph.Node[3].OpType = new("RandomNormalLike") }},
		{"batch statistics", "evaluation mode", func(m *onnx.ModelProto) {
			m.Graph.Node[3] = node("BatchNormalization", "ma b b b b", "pa", onnx.NewInt("training_mode", 1))
		}},
		{"dropout in training", "at random", func(m *onnx.ModelProto) {
			m.Graph.Node[3] = node("Dropout", "ma", "pa")
			m.Graph.Node[3].Input = []string{"ma", "", "yes"}
			m.Graph.Initializer = append(m.Graph.Initializer, &onnx.TensorProto{Name: new("yes"), DataType: new(int32(9)), RawData: []byte{1}})
		}},
		{"unknown domain", `operator set "com.example"`, func(m *onnx.ModelProto) { m.Graph.Node[3].Domain = new("com.example") }},
		{"attribute without a type", `attribute "pads"`, func(m *onnx.ModelProto) { m.Graph.Node[0].Attribute[0].Type = nil }},
	} {
		m := twoTasks()
		c.change(m)
		if _, err := mustNew(t, m).Digest("a"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	if _, err := mustNew(t, twoTasks()).Digest("nothing"); err == nil {
		t.Error("a tensor that is not there has a digest")
	}
}
