package zoo

import (
	"math/rand/v2"
	"testing"

	"github.com/facet-search/facet/modulation/train/network"
)

var fourTasks = []string{"a", "b", "c", "d"}

func build(t *testing.T, a Architecture, m Method, o Options) *network.Network {
	t.Helper()
	b, err := New(a, o)
	if err != nil {
		t.Fatal(err)
	}
	n, err := b.Apply(m, fourTasks, o.Image)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func count(t *testing.T, n *network.Network) (all, task int) {
	t.Helper()
	params, err := n.NewParams(rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	return params.Count()
}

// TestPaperSize holds the paper's figures: about 2.95 M parameters at 150×150, of which 512 a task
// belong to the task.
func TestPaperSize(t *testing.T) {
	all, task := count(t, build(t, Paper, Modulation, Options{Image: network.Shape{3, 150, 150}}))
	if task != 512 || all-4*task < 2_945_000 || all-4*task > 2_960_000 {
		t.Errorf("%d parameters, %d a task; want about 2.95 M and 512", all-4*task, task)
	}
}

func TestReferenceSize(t *testing.T) {
	o := Options{Image: network.Shape{3, 64, 64}}
	n := build(t, Small, Modulation, o)
	if all, task := count(t, n); task != 384 || all < 1_425_000 || all > 1_435_000 {
		t.Errorf("%d parameters, %d a task; the reference model has 1.43 M and 384", all, task)
	}
	trunk, tail, err := n.MACs()
	if err != nil || trunk < 299e6 || trunk > 302e6 || tail < 14e6 || tail > 15e6 {
		t.Errorf("%d MACs in the trunk, %d in a tail, %v; the reference model has 301 M and 14.4 M", trunk, tail, err)
	}
}

func TestStride(t *testing.T) {
	o := Options{Image: network.Shape{3, 64, 64}}
	full, _, err := build(t, Small, Modulation, o).MACs()
	if err != nil {
		t.Fatal(err)
	}
	o.Stride = 2
	half, _, err := build(t, Small, Modulation, o).MACs()
	if err != nil || full < 3*half || full > 5*half {
		t.Errorf("stride 2 brings %d MACs to %d (%v), want about a quarter", full, half, err)
	}
	o.Stride = 3
	if _, err := New(Small, o); err == nil {
		t.Error("a stride of 3 is taken")
	}
}

func TestMethods(t *testing.T) {
	for a, widths := range map[Architecture][]int{Paper: {4, 8, 8, 8, 8}, Small: {4, 8, 8, 8, 8}, ResNet18: {4, 8, 8, 8}} {
		o := Options{Image: network.Shape{3, 32, 32}, Dim: 16, Widths: widths}
		shared, _ := count(t, build(t, a, FullyShared, o))
		for _, m := range Methods {
			all, task := count(t, build(t, a, m, o))
			want := map[Method]int{
				FullyShared: 0, Independent: shared, CSN: 16, ModulationLast: 16,
			}
			if w, ok := want[m]; ok && task != w {
				t.Errorf("%s %s: %d parameters a task, want %d", a, m, task, w)
			}
			if (task == 0) != (m == FullyShared) || all > 4*shared || all < shared {
				t.Errorf("%s %s: %d parameters, %d a task; shared has %d", a, m, all, task, shared)
			}
		}
	}
}

func TestTrunkOfMethods(t *testing.T) {
	o := Options{Image: network.Shape{3, 64, 64}}
	for m, want := range map[Method]string{
		Independent: "stem", Branches: "block5_conv1", Modulation: "block4_scale", ModulationAll: "stem_relu_scale",
		CSN: "embedding_scale", ModulationLast: "embedding_scale", FullyShared: "",
	} {
		n := build(t, Small, m, o)
		tails, first := n.Tails(), ""
		for _, node := range n.Nodes {
			if tails[node.Name] {
				first = node.Name
				break
			}
		}
		if first != want {
			t.Errorf("%s: tails begin at %q, want %q", m, first, want)
		}
	}
}

func TestTaskStatisticsOnlyInTails(t *testing.T) {
	n := build(t, Small, Modulation, Options{Image: network.Shape{3, 64, 64}})
	TaskStatistics(n)
	own := 0
	for _, node := range n.Nodes {
		if bn, ok := node.Op.(network.BatchNorm); ok && bn.TaskStatistics {
			own++
		}
	}
	if own != 3 {
		t.Errorf("%d batch norms with statistics a task, want the 3 of the last block", own)
	}
}

func TestFreezeBackbone(t *testing.T) {
	n := build(t, ResNet18, Modulation, Options{Image: network.Shape{3, 32, 32}, Widths: []int{8, 8, 16, 32}})
	FreezeBackbone(n)
	all, _ := count(t, n)
	params, err := n.NewParams(rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	free := 0
	for _, p := range params.List {
		if !p.Frozen {
			free += len(p.Data)
		}
	}
	if want := 4*(16+32+128) + 32*128; free != want || free >= all {
		t.Errorf("%d of %d parameters are trained, want %d: the scales and the head", free, all, want)
	}
}

func TestRefusals(t *testing.T) {
	if _, err := New("alexnet", Options{}); err == nil {
		t.Error("an unknown architecture is taken")
	}
	if _, err := New(Small, Options{Widths: []int{1, 2}}); err == nil {
		t.Error("too few widths are taken")
	}
	if _, err := ParseMethod("modulated"); err == nil {
		t.Error("an unknown method is taken")
	}
	b, err := New(Small, Options{Image: network.Shape{3, 8, 8}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Apply(Modulation, fourTasks, network.Shape{3, 8, 8}); err == nil {
		t.Error("four poolings of 8 pixels are taken")
	}
}
