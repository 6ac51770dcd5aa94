package autodiff

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/facet-search/facet/modulation/train/network"
)

// head turns whatever a case ends in into vectors.
var head = network.Node{Name: "head", Op: network.Dense{Out: 3}}

func square(out, k, stride, pad int) network.Conv {
	return network.Conv{Out: out, Window: network.Square(k, stride, pad)}
}

// chain is a network of unary nodes.
func chain(image network.Shape, nodes ...network.Node) *network.Network {
	n := &network.Network{Tasks: []string{"a", "b"}, Image: image}
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

func perTask(op network.Op) network.Node { return network.Node{Op: op, PerTask: true} }

func cases() map[string]*network.Network {
	small, wide := network.Shape{3, 5, 5}, network.Shape{8, 4, 4}
	grouped, depthwise := square(8, 3, 1, 1), square(8, 3, 2, 1)
	grouped.Groups, depthwise.Groups = 2, 8
	biased := square(4, 3, 1, 1)
	biased.Bias = true
	odd := network.Conv{Out: 5, Window: network.Window{Kernel: [2]int{3, 2}, Stride: [2]int{2, 1}, Pads: [4]int{1, 0, 0, 1}}}
	res := chain(wide, node(square(8, 3, 1, 1)), node(square(8, 3, 1, 1)), network.Node{Op: network.Add{}, Inputs: []string{"n0", "n1"}},
		node(network.ReLU{}), head)
	bn := node(network.BatchNorm{})
	frozen := network.Node{Op: network.BatchNorm{}, Frozen: true}
	return map[string]*network.Network{
		"dense":             chain(small, head),
		"dense with bias":   chain(small, node(network.Dense{Out: 4, Bias: true}), head),
		"dense per task":    chain(small, perTask(network.Dense{Out: 4, Bias: true})),
		"conv":              chain(small, node(square(4, 3, 1, 1)), head),
		"conv with bias":    chain(small, node(biased), head),
		"conv 1x1":          chain(wide, node(square(16, 1, 1, 0)), head),
		"conv stride 2":     chain(wide, node(square(8, 3, 2, 1)), head),
		"conv odd window":   chain(small, node(odd), head),
		"conv grouped":      chain(wide, node(grouped), head),
		"conv depthwise":    chain(wide, node(depthwise), head),
		"conv per task":     chain(wide, perTask(biased), head),
		"relu":              chain(wide, node(square(8, 3, 1, 1)), node(network.ReLU{}), head),
		"relu on images":    chain(wide, node(network.ReLU{}), head),
		"relu6":             chain(wide, node(square(8, 3, 1, 1)), node(network.ReLU{Top: 0.5}), head),
		"max pool":          chain(wide, node(network.MaxPool{Window: network.Square(2, 2, 0)}), head),
		"max pool padded":   chain(small, node(network.MaxPool{Window: network.Square(3, 2, 1)}), head),
		"avg pool":          chain(wide, node(network.AvgPool{Window: network.Square(2, 2, 0)}), head),
		"avg pool inside":   chain(small, node(network.AvgPool{Window: network.Square(3, 2, 1)}), head),
		"avg pool padded":   chain(small, node(network.AvgPool{Window: network.Square(3, 2, 1), CountPads: true}), head),
		"global pool":       chain(wide, node(square(8, 3, 1, 1)), node(network.GlobalAvgPool{}), head),
		"flatten":           chain(wide, node(square(8, 3, 1, 1)), node(network.Flatten{}), head),
		"flatten, no conv":  chain(small, node(network.Flatten{}), node(network.ReLU{}), head),
		"residual":          res,
		"add to itself":     chain(small, network.Node{Op: network.Add{}, Inputs: []string{network.Input, network.Input}}, head),
		"batch norm":        chain(wide, node(square(8, 3, 1, 1)), bn, head),
		"batch norm relu":   chain(wide, node(square(8, 3, 1, 1)), bn, node(network.ReLU{}), head),
		"batch norm relu6":  chain(wide, node(square(8, 3, 1, 1)), bn, node(network.ReLU{Top: 1}), head),
		"batch norm vector": chain(small, head, bn),
		"batch norm frozen": chain(wide, node(square(8, 3, 1, 1)), frozen, head),
		"batch norm task statistics": chain(wide, node(square(8, 3, 1, 1)),
			node(network.BatchNorm{TaskStatistics: true}), node(network.ReLU{}), head),
		"batch norm per task":    chain(wide, node(square(8, 3, 1, 1)), perTask(network.BatchNorm{}), node(network.ReLU{}), head),
		"modulation":             chain(wide, node(square(8, 3, 1, 1)), perTask(mixed), node(network.ReLU{}), head),
		"modulation, conv after": chain(wide, node(square(8, 3, 1, 1)), perTask(mixed), node(square(4, 3, 1, 1)), head),
		"modulation, grouped":    chain(wide, node(square(8, 3, 1, 1)), perTask(mixed), node(grouped), head),
		"modulation, dense":      chain(wide, node(square(8, 3, 1, 1)), perTask(mixed), head),
		"modulation for all":     chain(wide, node(square(8, 3, 1, 1)), node(mixed), node(square(4, 3, 1, 1)), head),
		"modulation of vector":   chain(small, head, perTask(mixed), node(network.Normalize{})),
		"modulation, frozen":     frozenTrunk(wide),
		"normalize":              chain(small, head, node(network.Normalize{})),
	}
}

// mixed has scales on both sides of zero.
var mixed = network.Modulation{Init: network.Init{Mean: 0.5, Std: 0.7}}

func frozenTrunk(image network.Shape) *network.Network {
	n := chain(image, node(square(8, 3, 1, 1)), node(network.BatchNorm{}), node(network.ReLU{}), perTask(mixed), node(square(4, 3, 1, 1)), head)
	for i := range 3 {
		n.Nodes[i].Frozen = true
	}
	return n
}

// TestGradients holds every gradient against central differences of the float64 reference.
func TestGradients(t *testing.T) {
	for name, net := range cases() {
		t.Run(name, func(t *testing.T) { checkGradients(t, net, FoldNever) })
		if strings.HasPrefix(name, "modulation") {
			t.Run(name+"/folded", func(t *testing.T) { checkGradients(t, net, FoldAlways) })
		}
	}
}

// TestGradientsOfOtherProcessors does so with the kernels of lesser ones than this: layouts and the
// channels that fill up their blocks are others.
func TestGradientsOfOtherProcessors(t *testing.T) {
	for _, isa := range []string{"SSE41", "AVX", "AVX2"} {
		t.Run(isa, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGradients$", "-test.v")
			c.Env = append(os.Environ(), "ONEDNN_MAX_CPU_ISA="+isa)
			out, err := c.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("--- PASS: TestGradients/modulation/folded")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

const perTaskRows = 2

func checkGradients(t *testing.T, net *network.Network, fold Fold) {
	t.Helper()
	rng := rand.New(rand.NewPCG(7, 11))
	params, err := net.NewParams(rng)
	if err != nil {
		t.Fatal(err)
	}
	jitter(params, rng)
	images := normal(rng, perTaskRows*len(net.Tasks)*net.Image.Size())
	ref := newReference(net, params, images, perTaskRows)
	plan, err := Train(net, params, Options{Batch: perTaskRows, Threads: 1, Fold: fold, ImageGradient: true})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	copy(plan.Images(), images)
	if err := plan.Forward(); err != nil {
		t.Fatal(err)
	}
	var got, diff []float32
	for task := range net.Tasks {
		got = append(got, plan.Embeddings(task)...)
		copy(plan.Diff(task), normal(rng, len(plan.Diff(task))))
		diff = append(diff, plan.Diff(task)...)
	}
	compare(t, "embeddings", got, ref.forward(), 1e-5)
	for run := range 2 { // the second must find nothing of the first
		if err := plan.Backward(); err != nil {
			t.Fatal(err)
		}
		if run == 0 {
			continue
		}
		ref.check(t, "images", plan.ImageDiff(), ref.images, diff)
		for _, p := range params.List {
			if g := plan.Grad(p); p.Frozen {
				if g != nil {
					t.Errorf("frozen %s has a gradient", p.Name)
				}
			} else {
				ref.check(t, p.Name, g, ref.values[p.Name], diff)
			}
		}
	}
}

// jitter moves parameters that start at constants away from them.
func jitter(params *network.Params, rng *rand.Rand) {
	for _, p := range params.List {
		if p.Role == network.Weight || p.Role == network.Scale {
			continue
		}
		for i := range p.Data {
			p.Data[i] += float32(0.2 * rng.Float64())
		}
	}
}

func normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// check holds the gradient of Σ diff·embeddings with respect to v, which is part of the reference,
// against central differences, at no more than 11 places spread over it.
func (r *reference) check(t *testing.T, what string, got []float32, v []float64, diff []float32) {
	t.Helper()
	const h = 1e-6
	loss := func() (sum float64) {
		for i, y := range r.forward() {
			sum += y * float64(diff[i])
		}
		return sum
	}
	if len(got) != len(v) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(v))
	}
	var some []float32
	var want []float64
	for i := 0; i < len(v); i += 1 + len(v)/11 {
		old := v[i]
		v[i] = old + h
		up := loss()
		v[i] = old - h
		want = append(want, (up-loss())/(2*h))
		some = append(some, got[i])
		v[i] = old
	}
	compare(t, what, some, want, 1e-4)
}

// compare fails where a value is off by more than tol times the largest of all (or 1).
func compare(t *testing.T, what string, got []float32, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	largest := 1.0
	for _, w := range want {
		largest = max(largest, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= tol*largest) {
			t.Fatalf("%s[%d] = %g, want %g (off by %.2g of the largest, %g)", what, i, got[i], w, d/largest, largest)
		}
	}
}
