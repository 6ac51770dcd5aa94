package modulation_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/enginetest"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/weave"
)

// plain is a network's backbone: without modulation, for one task.
func plain(n *network.Network) *network.Network {
	p := &network.Network{Tasks: []string{"all"}, Image: n.Image}
	is := map[string]string{}
	for _, node := range n.Nodes {
		node.Inputs = slices.Clone(node.Inputs)
		for i, in := range node.Inputs {
			if to, ok := is[in]; ok {
				node.Inputs[i] = to
			}
		}
		if _, ok := node.Op.(network.Modulation); ok {
			is[node.Name] = node.Inputs[0]
			continue
		}
		p.Nodes = append(p.Nodes, node)
	}
	return p
}

// pair is a modulated network, and its backbone with the same weights.
func pair(t testing.TB, name string) (modulated *network.Network, ps *network.Params, backbone []byte) {
	t.Helper()
	modulated = enginetest.Nets()[name]
	ps = enginetest.Trained(t, modulated)
	n := plain(modulated)
	values := must[*network.Params](t)(n.NewParams(rand.New(rand.NewPCG(1, 1))))
	for _, p := range values.List {
		copy(p.Data, ps.Named(p.Name).Data)
	}
	return modulated, ps, exported(t, n, values, 17)
}

// scales are a network's, by task, in the order of its nodes, and the sites they belong to.
func scales(n *network.Network, ps *network.Params) (sites []string, byTask map[string][][]float32) {
	byTask = map[string][][]float32{}
	for i, task := range n.Tasks {
		for _, node := range n.Nodes {
			if _, ok := node.Op.(network.Modulation); !ok {
				continue
			}
			byTask[task] = append(byTask[task], n.Of(ps, node.Name, network.Scale, i).Data)
			if i == 0 {
				sites = append(sites, node.Inputs[0])
			}
		}
	}
	return sites, byTask
}

// sorted are a model's outputs in the order of the names of its tasks.
func sorted(t testing.TB, file []byte, images []float32) [][]float32 {
	t.Helper()
	out := enginetest.Run(t, file, images)
	m := open(t, file)
	order := make([]int, len(m.Tasks))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(m.Tasks[a].Name, m.Tasks[b].Name) })
	var list [][]float32
	for _, i := range order {
		list = append(list, out[i])
	}
	return list
}

// Weaving trained scales into the backbone gives the network that was trained with them: the trunk once,
// the tail once a task.
func TestWeaveIsTraining(t *testing.T) {
	for _, name := range []string{"paper", "mobile", "mobilenet", "resnet18", "masks"} {
		t.Run(name, func(t *testing.T) {
			n, ps, backbone := pair(t, name)
			sites, values := scales(n, ps)
			images := enginetest.Images(2 * n.Image.Size())
			trained := exported(t, n, ps, 17)
			want := sorted(t, trained, images)
			woven := must[[]byte](t)(modulation.Weave(backbone, modulation.Weaving{Sites: sites, Scales: values}))
			enginetest.Compare(t, sorted(t, woven, images), want, enginetest.Tolerance)
			folded := must[[]byte](t)(modulation.Fold(woven, 0))
			enginetest.Compare(t, sorted(t, folded, images), want, enginetest.Tolerance)
			if got, want := open(t, woven).Inspect(), open(t, trained).Inspect(); *got.Cost.MACs != *want.Cost.MACs {
				t.Errorf("woven costs %v, trained %v", got.Cost, want.Cost)
			}
			got, stated := must[modulation.Sites](t)(open(t, folded).Sites()), must[modulation.Sites](t)(open(t, trained).Sites())
			for task := range stated {
				for i := range stated[task] {
					if got[task][i].Dead != stated[task][i].Dead {
						t.Errorf("task %s: sites %+v, want %+v", task, got[task], stated[task])
					}
				}
			}
		})
	}
}

// Scales that move past what follows a site let tasks share that: here a pooling and, its scales being
// equal, a whole branch.
func TestFoldSharesWhatTailsHaveInCommon(t *testing.T) {
	n, ps, backbone := pair(t, "paper")
	_, values := scales(n, ps)
	one := values["shape"][0]
	weaving := modulation.Weaving{Sites: []string{"auto:stage1", "n14"}, Scales: map[string][][]float32{
		"a": {one, values["shape"][2]}, "b": {one, values["colour"][2]}, "c": {one, values["style"][2]},
	}}
	in := open(t, must[[]byte](t)(modulation.Fold(must[[]byte](t)(modulation.Weave(backbone, weaving)), 0))).Inspect()
	if in.Operators["Conv"] != 3 || in.Operators["MaxPool"] != 1 || in.Operators["Gemm"] != 1 || in.Operators["ReduceL2"] != 3 {
		t.Errorf("equal scales give %v", in.Operators)
	}
	weaving = modulation.Weaving{Sites: []string{"n6"}, Scales: map[string][][]float32{"a": {values["shape"][0]}, "b": {values["colour"][0]}}}
	in = open(t, must[[]byte](t)(modulation.Fold(must[[]byte](t)(modulation.Weave(backbone, weaving)), 0))).Inspect()
	if in.Operators["MaxPool"] != 1 {
		t.Errorf("a site before a pooling gives %v, want one pooling", in.Operators)
	}
}

func TestWeaveRules(t *testing.T) {
	_, _, backbone := pair(t, "resnet18")
	m, err := onnx.Read(backbone)
	if err != nil {
		t.Fatal(err)
	}
	found := must[[]weave.Site](t)(weave.Sites(m, nil, m.Graph.Output[0].GetName()))
	want := []weave.Site{
		{Rule: "auto:stage1", Tensor: "relu", Channels: 4, Height: 20, Width: 16},
		{Rule: "auto:stage2", Tensor: "layer1.1", Channels: 4, Height: 10, Width: 8},
		{Rule: "auto:stage3", Tensor: "layer2.1", Channels: 6, Height: 5, Width: 4},
		{Rule: "auto:stage4", Tensor: "layer3.1", Channels: 8, Height: 3, Width: 2},
		{Rule: "auto:stage5", Tensor: "layer4.1", Channels: 10, Height: 2, Width: 1},
		{Rule: "auto:embedding", Tensor: "fc", Channels: 7, Height: 1, Width: 1},
	}
	if !slices.Equal(found, want) {
		t.Errorf("sites %v\nwant %v", found, want)
	}
}

func TestWeaveRefuses(t *testing.T) {
	_, _, backbone := pair(t, "resnet18")
	ones := func(n int) []float32 { return slices.Repeat([]float32{1}, n) }
	for _, c := range []struct {
		want string
		w    modulation.Weaving
	}{
		{`site "auto:stage9" is neither a rule nor a tensor`, modulation.Weaving{Sites: []string{"auto:stage9"}, Scales: map[string][][]float32{"a": {ones(4)}}}},
		{`auto:stage4 = "layer3.1" [8 3 2]`, modulation.Weaving{Sites: []string{"layer9"}, Scales: map[string][][]float32{"a": {ones(4)}}}},
		{"is a site already", modulation.Weaving{Sites: []string{"auto:last", "auto:stage5"}, Scales: map[string][][]float32{"a": {ones(10), ones(10)}}}},
		{`task "a" has 3 scales for auto:stage4`, modulation.Weaving{Sites: []string{"auto:stage4"}, Scales: map[string][][]float32{"a": {ones(3)}}}},
		{`task "a" has scales for 2 sites, want 1`, modulation.Weaving{Sites: []string{"auto:stage4"}, Scales: map[string][][]float32{"a": {ones(8), ones(10)}}}},
		{"0 tasks at 1 sites", modulation.Weaving{Sites: []string{"auto:stage4"}}},
		{`no node yields "fc9"`, modulation.Weaving{Output: "fc9", Sites: []string{"auto:stage4"}, Scales: map[string][][]float32{"a": {ones(8)}}}},
		{`site "layer3.1" is neither`, modulation.Weaving{Output: "layer2.1", Sites: []string{"layer3.1"}, Scales: map[string][][]float32{"a": {ones(8)}}}},
		{`task "a b"`, modulation.Weaving{Sites: []string{"auto:stage4"}, Scales: map[string][][]float32{"a b": {ones(8)}}}},
	} {
		if _, err := modulation.Weave(backbone, c.w); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v\nwant one with %q", err, c.want)
		}
	}
}

// A task that joins a model in production changes no bit and no digest of the tasks that are there,
// computes the trunk along with theirs, and yields what it yields alone.
func TestAddTaskChangesNoBitOfOthers(t *testing.T) {
	for _, name := range []string{"paper", "mobilenet", "resnet18"} {
		t.Run(name, func(t *testing.T) {
			n, ps, backbone := pair(t, name)
			sites, values := scales(n, ps)
			newcomer := map[string][][]float32{"style": values["style"]}
			delete(values, "style")
			images := enginetest.Images(3 * n.Image.Size())
			for _, form := range []func([]byte) []byte{
				func(b []byte) []byte { return b },
				func(b []byte) []byte { return must[[]byte](t)(modulation.Fold(b, 0)) },
				func(b []byte) []byte {
					return must[[]byte](t)(modulation.Prune(must[[]byte](t)(modulation.Fold(b, 0)), weave.Pruning{}))
				},
			} {
				production := form(must[[]byte](t)(modulation.Weave(backbone, modulation.Weaving{Sites: sites, Scales: values})))
				other := must[[]byte](t)(modulation.Weave(backbone, modulation.Weaving{Sites: sites, Scales: newcomer}))
				added := must[[]byte](t)(modulation.AddTasks(production, other, nil))
				checkAdded(t, production, other, added, images)
			}
		})
	}
}

func checkAdded(t *testing.T, production, other, added []byte, images []float32) {
	t.Helper()
	was, is := open(t, production), open(t, added)
	before, after, alone := enginetest.Run(t, production, images), enginetest.Run(t, added, images), enginetest.Run(t, other, images)
	for i, task := range was.Tasks {
		if is.Tasks[i] != task || is.Digests.Tasks[i] != was.Digests.Tasks[i] {
			t.Errorf("task %s or its digest changed", task.Name)
		}
		if !slices.Equal(before[i], after[i]) {
			t.Errorf("bits of task %s changed", task.Name)
		}
	}
	enginetest.Compare(t, after[len(was.Tasks):], alone, enginetest.Tolerance)
	own, whole := is.Inspect().Tasks[len(was.Tasks)].Own, open(t, other).Inspect().Cost
	if *own.MACs > *whole.MACs-*was.Inspect().Shared.MACs {
		t.Errorf("the new task adds %v, alone it takes %v: what has become of the trunk?", own, whole)
	}
	sites, err := is.Sites()
	if err != nil || len(sites["style"]) == 0 || len(sites["shape"]) == 0 {
		t.Errorf("sites %v, %v", sites, err)
	}
}

// Another exporter spells other defaults; the trunk is the same all the same.
func TestAddTaskToAnotherExportersTrunk(t *testing.T) {
	n, ps, backbone := pair(t, "resnet18")
	sites, values := scales(n, ps)
	woven := func(tasks ...string) []byte {
		chosen := map[string][][]float32{}
		for _, name := range tasks {
			chosen[name] = values[name]
		}
		return must[[]byte](t)(modulation.Weave(backbone, modulation.Weaving{Sites: sites, Scales: chosen}))
	}
	m := must[*onnx.ModelProto](t)(onnx.Read(woven("shape", "colour")))
	for _, node := range m.Graph.Node {
		if node.GetOpType() == "Conv" {
			node.Attribute = append(node.Attribute, onnx.NewIntList("dilations", 1, 1))
		}
	}
	production, other := write(t, m), woven("style")
	checkAdded(t, production, other, must[[]byte](t)(modulation.AddTasks(production, other, nil)), enginetest.Images(2*n.Image.Size()))
}

// Other scales for one task leave the digests of the others, however the model is rewritten.
func TestScalesOfOneTaskAreItsOwn(t *testing.T) {
	for _, name := range []string{"paper", "mobilenet", "resnet18"} {
		n := enginetest.Nets()[name]
		ps := enginetest.Trained(t, n)
		digests := func() []modulation.Digest {
			folded := must[[]byte](t)(modulation.Fold(exported(t, n, ps, 17), 0))
			return open(t, must[[]byte](t)(modulation.Prune(folded, weave.Pruning{}))).Digests.Tasks
		}
		before := digests()
		for _, p := range ps.List {
			if p.Role == network.Scale && p.Task == 1 {
				p.Data[0], p.Data[3] = 0.25, -1
			}
		}
		for i, d := range digests() {
			if (d == before[i]) != (i != 1) {
				t.Errorf("%s: other scales of task 1: the digest of task %d changed: %v", name, i, d != before[i])
			}
		}
	}
}

func TestAddTasksRefuses(t *testing.T) {
	n, ps, backbone := pair(t, "paper")
	sites, values := scales(n, ps)
	woven := must[[]byte](t)(modulation.Weave(backbone, modulation.Weaving{Sites: sites, Scales: values}))
	alien := exported(t, enginetest.Nets()["mobile"], enginetest.Trained(t, enginetest.Nets()["mobile"]), 17)
	newer := exported(t, n, ps, 21)
	for want, try := range map[string]func() ([]byte, error){
		`two tasks are named`: func() ([]byte, error) { return modulation.AddTasks(woven, woven, nil) },
		`has no task "size"`:  func() ([]byte, error) { return modulation.AddTasks(woven, woven, []string{"size"}) },
		"have nothing in common": func() ([]byte, error) {
			return modulation.AddTasks(must[[]byte](t)(modulation.Cut(woven, []string{"shape"})), alien, []string{"style"})
		},
		"versions 17 and 21 of the operat": func() ([]byte, error) {
			return modulation.AddTasks(must[[]byte](t)(modulation.Cut(woven, []string{"shape"})), newer, []string{"style"})
		},
		"prepare images differently": func() ([]byte, error) {
			r := enginetest.Nets()["resnet18"]
			return modulation.AddTasks(must[[]byte](t)(modulation.Cut(woven, []string{"shape"})), exported(t, r, enginetest.Trained(t, r), 17), []string{"style"})
		},
	} {
		if _, err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v\nwant one with %q", err, want)
		}
	}
}
