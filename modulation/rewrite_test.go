package modulation_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/enginetest"
	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/exchange"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/modulation/weave"
	"github.com/facet-search/facet/pipeline"
)

func preprocess(s network.Shape) pipeline.Preprocess {
	return pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{s[1], s[2]}, Filter: "bilinear", Std: [3]float64{1, 1, 1},
		Scale: 1. / 255, Channels: "rgb", Orientation: "ignore",
	}
}

// exported is the network as training leaves it, written for a version of the operator set.
func exported(t testing.TB, n *network.Network, ps *network.Params, opset int64) []byte {
	t.Helper()
	m, err := exchange.Export(n, ps, exchange.Options{Preprocess: preprocess(n.Image)})
	if err != nil {
		t.Fatal(err)
	}
	m.OpsetImport[0].Version = &opset
	if opset >= 18 { // axes became an input
		m.IrVersion = new(int64(10))
		m.Graph.Initializer = append(m.Graph.Initializer, onnx.NewInts("axes", []int64{1}, []int64{1}))
		for _, n := range m.Graph.Node {
			if n.GetOpType() == "ReduceL2" {
				n.Attribute, n.Input = n.Attribute[1:], append(n.Input, "axes")
			}
		}
	}
	return write(t, m)
}

func write(t testing.TB, m *onnx.ModelProto) []byte {
	t.Helper()
	file, err := onnx.Write(m)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

type model struct {
	file   []byte
	images int // values of one
}

// models are the reference model and networks of every make, in the oldest and newest operator sets.
func models(t testing.TB) map[string]model {
	t.Helper()
	file, err := os.ReadFile(testenv.Shared(t, "models/fashion/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]model{"reference": {file, 3 * 64 * 64}}
	for name, n := range enginetest.Nets() {
		ps := enginetest.Trained(t, n)
		opsets := map[string][]int64{"paper": {13, 21}, "mobilenet": {21}, "vectors": {21}}[name]
		if opsets == nil {
			opsets = []int64{13}
		}
		for _, opset := range opsets {
			all[fmt.Sprintf("%s, opset %d", name, opset)] = model{exported(t, n, ps, opset), n.Image.Size()}
		}
	}
	return all
}

func operators(t testing.TB, file []byte) map[string]int {
	t.Helper()
	return open(t, file).Inspect().Operators
}

// Whatever is folded and pruned, outputs stay, and the graph gets smaller.
func TestRewritesKeepOutputs(t *testing.T) {
	for name, m := range models(t) {
		t.Run(name, func(t *testing.T) {
			images := enginetest.Images(2 * m.images)
			want := enginetest.Run(t, m.file, images)
			same := func(what string, file []byte) modulation.Inspection {
				t.Helper()
				enginetest.Compare(t, enginetest.Run(t, file, images), want, enginetest.Tolerance)
				if t.Failed() {
					t.Fatal("after ", what)
				}
				return open(t, file).Inspect()
			}
			before := open(t, m.file).Inspect()
			folded := must[[]byte](t)(modulation.Fold(m.file, 0))
			in := same("fold", folded)
			if *in.Cost.MACs > *before.Cost.MACs || in.Operators["Conv"] > before.Operators["Conv"] {
				t.Errorf("folding took %v to %v", before.Cost, in.Cost)
			}
			if again := must[[]byte](t)(modulation.Fold(folded, 0)); !slices.Equal(again, folded) {
				t.Error("folding again changes the file")
			}
			if name == "reference" { // as PyTorch writes it; large, and without a dead channel
				if ops := in.Operators; ops["Mul"]+ops["BatchNormalization"]+ops["Expand"]+ops["Identity"] != 0 {
					t.Errorf("it folds into %v", ops)
				}
				return
			}
			same("fold but large weights", must[[]byte](t)(modulation.Fold(m.file, 300)))
			for _, opt := range []weave.Pruning{{}, {Multiple: 4}, {Copy: true}} {
				pruned := same(fmt.Sprintf("prune %+v", opt), must[[]byte](t)(modulation.Prune(folded, opt)))
				if *pruned.Cost.MACs > *in.Cost.MACs || !opt.Copy && pruned.Cost.Parameters > in.Cost.Parameters {
					t.Errorf("pruning %+v took %v to %v", opt, in.Cost, pruned.Cost)
				}
			}
			same("prune, unfolded", must[[]byte](t)(modulation.Prune(m.file, weave.Pruning{})))
		})
	}
}

// No batch norm and no scale is left where neighbours can take them in.
func TestFoldLeavesNothing(t *testing.T) {
	all := models(t)
	for name, want := range map[string]int{ // products that have to stay
		"paper, opset 13": 0, "paper, opset 21": 0, "mobile, opset 13": 0, "mobilenet, opset 21": 0, "resnet18, opset 13": 0,
		"masks, opset 13": 3, // on an embedding that tasks share
	} {
		ops := operators(t, must[[]byte](t)(modulation.Fold(all[name].file, 0)))
		if ops["BatchNormalization"] != 0 || ops["Mul"] != want || ops["Expand"] != 0 || ops["Identity"] != 0 {
			t.Errorf("%s folds into %v, want %d products", name, ops, want)
		}
	}
}

// A site in the middle of residual blocks feeds a sum, which cannot take the scale in.
func TestFoldKeepsScaleOfAResidual(t *testing.T) {
	n := enginetest.Nets()["resnet18"]
	for i, node := range n.Nodes {
		if node.Name == "site3" {
			n.Nodes[i].Inputs = []string{"layer3.0"}
		}
		for k, in := range node.Inputs {
			if in == "layer3.0" && i > 0 {
				n.Nodes[i].Inputs[k] = "site3"
			} else if in == "site3" {
				n.Nodes[i].Inputs[k] = "layer3.1"
			}
		}
	}
	at := slices.IndexFunc(n.Nodes, func(node network.Node) bool { return node.Name == "layer3.0" })
	site := slices.IndexFunc(n.Nodes, func(node network.Node) bool { return node.Name == "site3" })
	moved := n.Nodes[site]
	moved.Inputs = []string{"layer3.0"}
	n.Nodes = slices.Insert(slices.Delete(n.Nodes, site, site+1), at+1, moved)
	file := exported(t, n, enginetest.Trained(t, n), 17)
	folded := must[[]byte](t)(modulation.Fold(file, 0))
	images := enginetest.Images(2 * n.Image.Size())
	enginetest.Compare(t, enginetest.Run(t, folded, images), enginetest.Run(t, file, images), enginetest.Tolerance)
	if ops := operators(t, folded); ops["Mul"] != 3 || ops["BatchNormalization"] != 0 {
		t.Errorf("it folds into %v, want 3 products, one a task", ops)
	}
}

// Pruning shows in the numbers: dead channels take weights and multiplications with them, in every task's
// tail and nowhere else.
func TestPruneShrinksTails(t *testing.T) {
	for name, opt := range map[string]weave.Pruning{"paper": {}, "resnet18": {}, "mobile": {Copy: true}, "mobilenet": {Copy: true}} {
		n := enginetest.Nets()[name]
		file := exported(t, n, enginetest.Trained(t, n), 17)
		folded := must[[]byte](t)(modulation.Fold(file, 0))
		pruned := must[[]byte](t)(modulation.Prune(folded, opt))
		before, after := open(t, folded).Inspect(), open(t, pruned).Inspect()
		if !opt.Copy && after.Cost.Parameters >= before.Cost.Parameters {
			t.Errorf("%s: it went from %v to %v", name, before.Cost, after.Cost)
		}
		for i, task := range after.Tasks {
			was := before.Tasks[i]
			if task.Cost.Parameters >= was.Cost.Parameters || *task.Cost.MACs >= *was.Cost.MACs {
				t.Errorf("%s: task %s went from %v to %v", name, task.Name, was.Cost, task.Cost)
			}
			if dead := slices.ContainsFunc(task.Sites, func(s modulation.Site) bool { return s.Dead > 0 }); !dead {
				t.Errorf("%s: task %s has no dead channel to prune", name, task.Name)
			}
		}
	}
}

// A task whose scales are all dead at a site keeps what does not come through there.
func TestPruneAllDead(t *testing.T) {
	for _, name := range []string{"paper", "mobilenet", "resnet18"} {
		for at := range 3 {
			n := enginetest.Nets()[name]
			ps := enginetest.Trained(t, n)
			sites := 0
			for _, p := range ps.List {
				if p.Role == network.Scale && p.Task == 1 {
					if sites == at {
						clear(p.Data)
					}
					sites++
				}
			}
			if at >= sites-1 && name == "paper" || at >= sites {
				continue // the embedding itself
			}
			file := exported(t, n, ps, 17)
			images := enginetest.Images(2 * n.Image.Size())
			want := enginetest.Run(t, file, images)
			for _, opt := range []weave.Pruning{{}, {Copy: true}, {Multiple: 8}} {
				pruned := must[[]byte](t)(modulation.Prune(must[[]byte](t)(modulation.Fold(file, 0)), opt))
				enginetest.Compare(t, enginetest.Run(t, pruned, images), want, enginetest.Tolerance)
			}
		}
	}
}

// The file says where it is modulated, however it is rewritten.
func TestSitesSurvive(t *testing.T) {
	n := enginetest.Nets()["paper"]
	file := exported(t, n, enginetest.Trained(t, n), 17)
	sites := must[modulation.Sites](t)(open(t, file).Sites())
	if len(sites["shape"]) != 3 || sites["shape"][0].Tensor != "n2" || sites["shape"][0].Channels != 8 {
		t.Errorf("sites %+v", sites)
	}
	folded := must[[]byte](t)(modulation.Fold(file, 0))
	pruned := must[[]byte](t)(modulation.Prune(folded, weave.Pruning{}))
	cut := must[[]byte](t)(modulation.Cut(pruned, []string{"style"}))
	got := must[modulation.Sites](t)(open(t, cut).Sites())
	if len(got) != 1 || !slices.Equal(got["style"], sites["style"]) {
		t.Errorf("sites %+v, want of style %+v", got, sites["style"])
	}
	if text := open(t, cut).Inspect().String(); !strings.Contains(text, "modulated at n2 (") {
		t.Errorf("the inspection says\n%s", text)
	}
}
