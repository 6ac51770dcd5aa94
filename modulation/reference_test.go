package modulation

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/facet-search/facet/modulation/onnx"
)

// reference is the modulated model with four tasks that lies beside the module, if this machine has it.
func reference(t *testing.T) *onnx.ModelProto {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		file, err := os.ReadFile(filepath.Join(dir, "../shared/models/fashion/model.onnx"))
		if errors.Is(err, fs.ErrNotExist) {
			t.Skipf("the reference model is not here: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		m, err := onnx.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	t.Fatal("no go.mod above the test")
	return nil
}

func taskDigests(t *testing.T, m *onnx.ModelProto, o Overrides) []Digest {
	t.Helper()
	opened, err := Open(write(t, m), o)
	if err != nil {
		t.Fatal(err)
	}
	return opened.Digests.Tasks
}

// PyTorch exports each site's scales as an initialiser of their own. One bit of one of them changes the
// digest of its task alone.
func TestReferenceScalesBelongToTheirTasks(t *testing.T) {
	before := taskDigests(t, reference(t), Overrides{})
	for task, scales := range [][]string{
		{"onnx::Relu_375", "onnx::Relu_376", "onnx::Relu_378"}, {"onnx::Relu_380", "onnx::Relu_381", "onnx::Relu_383"},
		{"onnx::Relu_385", "onnx::Relu_386", "onnx::Relu_388"}, {"onnx::Relu_390", "onnx::Relu_391", "onnx::Relu_393"},
	} {
		for _, name := range scales {
			m := reference(t)
			flipBit(t, m, name)
			for i, d := range taskDigests(t, m, Overrides{}) {
				if (d != before[i]) != (i == task) {
					t.Errorf("a bit of %s, which is task %d's: digest of task %d changed: %v", name, task, i, d != before[i])
				}
			}
		}
	}
	m := reference(t)
	flipBit(t, m, "onnx::Conv_340") // a weight that all tails share
	for i, d := range taskDigests(t, m, Overrides{}) {
		if d == before[i] {
			t.Errorf("a bit of a shared weight left the digest of task %d as it was", i)
		}
	}
}

func flipBit(t *testing.T, m *onnx.ModelProto, name string) {
	t.Helper()
	for _, w := range m.GetGraph().GetInitializer() {
		if w.GetName() == name {
			w.RawData[5] ^= 1
			return
		}
	}
	t.Fatalf("no initialiser %q", name)
}

// The same network written by another exporter: every name new, nodes and initialisers in random order,
// half of the initialisers as Constant nodes, the constants that were nodes as initialisers.
func TestReferenceDigestsSurviveRewriting(t *testing.T) {
	before := taskDigests(t, reference(t), Overrides{})
	for seed := range uint64(5) {
		m := reference(t)
		rng := rand.New(rand.NewPCG(seed, 1))
		moveConstants(m.GetGraph(), rng)
		tasks := renameAll(t, m)
		rng.Shuffle(len(m.Graph.Node), func(i, j int) { m.Graph.Node[i], m.Graph.Node[j] = m.Graph.Node[j], m.Graph.Node[i] })
		rng.Shuffle(len(m.Graph.Initializer), func(i, j int) {
			m.Graph.Initializer[i], m.Graph.Initializer[j] = m.Graph.Initializer[j], m.Graph.Initializer[i]
		})
		if after := taskDigests(t, m, tasks); !slices.Equal(after, before) {
			t.Fatalf("seed %d: digests %v\nwant %v", seed, after, before)
		}
	}
}

func moveConstants(g *onnx.GraphProto, rng *rand.Rand) {
	var nodes []*onnx.NodeProto
	var weights []*onnx.TensorProto
	for _, n := range g.GetNode() {
		if n.GetOpType() != "Constant" {
			nodes = append(nodes, n)
			continue
		}
		w := proto.Clone(n.GetAttribute()[0].GetT()).(*onnx.TensorProto)
		w.Name = new(n.GetOutput()[0])
		weights = append(weights, w)
	}
	for _, w := range g.GetInitializer() {
		if rng.IntN(2) == 0 {
			weights = append(weights, w)
			continue
		}
		nodes = append(nodes, onnx.NewNode("Constant", nil, []string{w.GetName()}, onnx.NewTensor("value", w)))
	}
	g.Node, g.Initializer = nodes, weights
}

// renameAll gives every node and tensor a new name, and returns the tasks with their outputs' names.
func renameAll(t *testing.T, m *onnx.ModelProto) Overrides {
	t.Helper()
	to := func(s string) string {
		if s == "" {
			return ""
		}
		return "r/" + s
	}
	g := m.GetGraph()
	for _, n := range g.GetNode() {
		n.Name = new(to(n.GetName()))
		for _, names := range [][]string{n.Input, n.Output} {
			for i := range names {
				names[i] = to(names[i])
			}
		}
	}
	for _, w := range g.GetInitializer() {
		w.Name = new(to(w.GetName()))
	}
	for _, v := range slices.Concat(g.GetInput(), g.GetOutput()) {
		v.Name = new(to(v.GetName()))
	}
	doc, _ := m.Metadata(TasksKey)
	tasks, err := parseTasks(doc)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tasks {
		tasks[i].Output = to(tasks[i].Output)
	}
	return Overrides{Tasks: tasks}
}

// The figures of the model's own README: 1.43 M parameters, of which a task has three sites of 128 scales.
func TestReferenceCosts(t *testing.T) {
	opened, err := Open(write(t, reference(t)), Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	in := opened.Inspect()
	if in.Cost.Parameters != 1427552 || in.Unused != 0 {
		t.Errorf("%d parameters, %d of them unused; want 1427552 and 0", in.Cost.Parameters, in.Unused)
	}
	const (
		trunk = 4096*32*27 + 4096*64*288 + 2*1024*64*576 + // stem, block 2
			1024*96*576 + 2*256*96*864 + 256*128*864 + 2*64*128*1152 // blocks 3 and 4
		tail = 64*128*1152 + 2*16*128*1152 + 2048*128 // block 5 and the head
	)
	if in.Shared.MACs == nil || *in.Shared.MACs != trunk || *in.Cost.MACs != trunk+4*tail {
		t.Errorf("MACs: %v, shared %v; want %d, %d", in.Cost, in.Shared, trunk+4*tail, trunk)
	}
	for _, task := range in.Tasks {
		if task.Own.Parameters != 3*128 || *task.Own.MACs != tail || *task.Cost.MACs != trunk+tail {
			t.Errorf("task %s: %v, its own %v", task.Name, task.Cost, task.Own)
		}
	}
}
