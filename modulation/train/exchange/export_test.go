package exchange

import (
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
	for name, n := range enginetest.Nets() {
		t.Run(name, func(t *testing.T) {
			ps := enginetest.Trained(t, n)
			images := enginetest.Images(5 * n.Image.Size())
			enginetest.Compare(t, enginetest.Run(t, export(t, n, ps), images), embed(t, n, ps, images), enginetest.Tolerance)
		})
	}
}

func TestExportSharesTheTrunk(t *testing.T) {
	n := enginetest.Nets()["paper"]
	file := export(t, n, enginetest.Trained(t, n))
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
	if string(file) != string(export(t, n, enginetest.Trained(t, n))) {
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
	n := enginetest.Nets()["paper"]
	ps := enginetest.Trained(t, n)
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
