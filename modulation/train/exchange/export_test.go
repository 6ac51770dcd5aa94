package exchange

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/enginetest"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train/autodiff"
	"github.com/facet-search/facet/modulation/train/network"
	"github.com/facet-search/facet/pipeline"
)

func preprocess(h, w int) pipeline.Preprocess {
	return pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{h, w}, Filter: "bilinear", Std: [3]float64{1, 1, 1},
		Scale: 1. / 255, Channels: "rgb", Orientation: "ignore",
	}
}

// net chains nodes: without a name they are n0, n1, …; without inputs they read the one before.
func net(image network.Shape, nodes ...network.Node) *network.Network {
	n := &network.Network{Tasks: []string{"shape", "colour", "style"}, Image: image}
	last := network.Input
	for i, node := range nodes {
		if node.Name == "" {
			node.Name = fmt.Sprintf("n%d", i)
		}
		if node.Inputs == nil {
			node.Inputs = []string{last}
		}
		last = node.Name
		n.Nodes = append(n.Nodes, node)
	}
	return n
}

func node(op network.Op) network.Node { return network.Node{Op: op} }

func named(name string, op network.Op, inputs ...string) network.Node {
	return network.Node{Name: name, Op: op, Inputs: inputs}
}

func perTask(op network.Op) network.Node { return network.Node{Op: op, PerTask: true} }

func conv(out, k, stride, pad, groups int) network.Conv {
	return network.Conv{Out: out, Window: network.Square(k, stride, pad), Groups: groups}
}

// nets cover every operation, in the trunk, in tails and on vectors.
func nets() map[string]*network.Network {
	image := network.Shape{3, 8, 10}
	relu, bn, scale := node(network.ReLU{}), node(network.BatchNorm{}), perTask(network.Modulation{})
	biased := conv(6, 3, 1, 1, 1)
	biased.Bias = true
	odd := network.Conv{Out: 6, Window: network.Window{Kernel: [2]int{3, 2}, Stride: [2]int{2, 1}, Pads: [4]int{1, 0, 0, 1}}}
	last := node(network.Normalize{})
	return map[string]*network.Network{
		"paper": net(image, node(conv(8, 3, 1, 1, 1)), bn, relu, scale, node(conv(8, 3, 1, 1, 1)), bn, relu,
			named("pool", network.MaxPool{Window: network.Square(2, 2, 0)}), node(conv(8, 3, 1, 1, 1)), bn, relu,
			named("sum", network.Add{}, "n10", "pool"), scale, node(network.Flatten{}), node(network.Dense{Out: 6}), bn, relu, scale, last),
		"mobile": net(image, node(conv(6, 3, 2, 1, 1)), bn, node(network.ReLU{Top: 6}), scale, node(conv(6, 3, 1, 1, 6)), bn,
			node(network.ReLU{Top: 6}), node(conv(12, 1, 1, 0, 1)), node(network.GlobalAvgPool{}), node(network.Dense{Out: 5, Bias: true}), last),
		"per task":    net(image, node(odd), perTask(biased), perTask(network.BatchNorm{}), relu, perTask(network.Dense{Out: 4, Bias: true}), last),
		"statistics":  net(image, node(biased), node(network.BatchNorm{TaskStatistics: true, Eps: 1e-3}), relu, node(network.Dense{Out: 4}), last),
		"one for all": net(image, node(conv(6, 3, 1, 1, 3)), relu, node(network.AvgPool{Window: network.Square(3, 2, 1)}), node(network.GlobalAvgPool{})),
		"masks":       net(image, node(conv(6, 3, 1, 1, 3)), node(network.GlobalAvgPool{}), scale, last),
		"vectors": net(image, node(network.AvgPool{Window: network.Square(3, 2, 1), CountPads: true}), node(network.Dense{Out: 6}),
			named("a", network.BatchNorm{}), named("b", conv(6, 1, 1, 0, 2)), named("c", network.Add{}, "b", "a"), node(network.MaxPool{Window: network.Square(1, 1, 0)}), scale),
	}
}

// trained draws parameters as training leaves them: some scales dead, statistics away from 0 and 1.
func trained(t testing.TB, n *network.Network) *network.Params {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 7))
	ps, err := n.NewParams(rng)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps.List {
		for i := range p.Data {
			switch p.Role {
			case network.Scale:
				p.Data[i] = float32(0.7 + 0.6*rng.NormFloat64())
			case network.RunningVar:
				p.Data[i] = float32(0.3 + rng.Float64())
			case network.RunningMean, network.Shift, network.Bias:
				p.Data[i] = float32(0.3 * rng.NormFloat64())
			case network.Gain:
				p.Data[i] = float32(1 + 0.3*rng.NormFloat64())
			}
		}
	}
	return ps
}

// embed is what training's own engine computes for every task.
func embed(t testing.TB, n *network.Network, ps *network.Params, images []float32) [][]float32 {
	t.Helper()
	p, err := autodiff.Infer(n, ps, autodiff.Options{Batch: len(images) / n.Image.Size()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	copy(p.Images(), images)
	if err := p.Forward(); err != nil {
		t.Fatal(err)
	}
	var out [][]float32
	for task := range n.Tasks {
		out = append(out, append([]float32(nil), p.Embeddings(task)...))
	}
	return out
}

func export(t testing.TB, n *network.Network, ps *network.Params) []byte {
	t.Helper()
	m, err := Export(n, ps, Options{Preprocess: preprocess(n.Image[1], n.Image[2]), Metadata: map[string]string{"facet.made": "by a test"}})
	if err != nil {
		t.Fatal(err)
	}
	file, err := onnx.Write(m)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// What ONNX Runtime computes from the file is what training's engine computes from the parameters.
func TestExportMatchesTraining(t *testing.T) {
	for name, n := range nets() {
		t.Run(name, func(t *testing.T) {
			ps := trained(t, n)
			images := enginetest.Images(5 * n.Image.Size())
			enginetest.Compare(t, enginetest.Run(t, export(t, n, ps), images), embed(t, n, ps, images), enginetest.Tolerance)
		})
	}
}

func TestExportSharesTheTrunk(t *testing.T) {
	n := nets()["paper"]
	file := export(t, n, trained(t, n))
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	trunk, tail, err := n.MACs()
	if err != nil {
		t.Fatal(err)
	}
	if got := *m.Inspect().Cost.MACs; got != int64(trunk+3*tail) {
		t.Errorf("%d MACs, want trunk %d + 3 × tail %d", got, trunk, tail)
	}
	if string(file) != string(export(t, n, trained(t, n))) {
		t.Error("two exports of one network differ")
	}
	p, err := onnx.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if made, _ := p.Metadata("facet.made"); made != "by a test" {
		t.Errorf("metadata facet.made is %q", made)
	}
}

func TestExportRefuses(t *testing.T) {
	n := nets()["paper"]
	ps := trained(t, n)
	gray := *n
	gray.Image[0] = 1
	grayParams, err := gray.NewParams(rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	for want, try := range map[string]func() error{
		"preprocessing yields 8×8": func() error { _, err := Export(n, ps, Options{Preprocess: preprocess(8, 8)}); return err },
		"images of 1 channels":     func() error { _, err := Export(&gray, grayParams, Options{Preprocess: preprocess(8, 10)}); return err },
		"no tasks":                 func() error { _, err := Export(&network.Network{}, ps, Options{}); return err },
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func modulationTasks(name string, dim int) []pipeline.Task {
	return []pipeline.Task{{Name: name, Output: name, Dim: dim, Metric: pipeline.L2}}
}
