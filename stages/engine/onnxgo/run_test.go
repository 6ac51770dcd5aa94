//go:build onnxgo

package onnxgo

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"sync"
	"testing"

	"github.com/facet-search/facet/stages/engine"
)

// golden is a graph with what ONNX Runtime makes of three images; testdata/golden.py writes them.
type golden struct {
	model         []byte
	Height, Width int
	Images        []float32
	Outputs       []string
	Dims          []int
	Want          [][]float32
}

func (g golden) spec() engine.Spec {
	return engine.Spec{Input: "images", Height: g.Height, Width: g.Width, Outputs: g.Outputs, Dims: g.Dims}
}

func readGolden(t testing.TB, name string) golden {
	t.Helper()
	var g golden
	doc, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &g); err != nil {
		t.Fatal(err)
	}
	if g.model, err = os.ReadFile("testdata/" + name + ".onnx"); err != nil {
		t.Fatal(err)
	}
	return g
}

func openRunner(t testing.TB, g golden, batch int) engine.Runner {
	t.Helper()
	e, err := Open(g.model, g.spec())
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.NewRunner(batch)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// Runs repeat, with batches of several sizes: onnx-go's own state must not reach the next image.
func TestAgreesWithONNXRuntime(t *testing.T) {
	for _, name := range []string{"modulated", "operators"} {
		t.Run(name, func(t *testing.T) {
			g := readGolden(t, name)
			r := openRunner(t, g, 3)
			size := 3 * g.Height * g.Width
			for _, span := range [][2]int{{0, 3}, {0, 3}, {1, 2}, {2, 3}, {0, 2}} {
				copy(r.Input(), g.Images[span[0]*size:span[1]*size])
				if err := r.Run(span[1] - span[0]); err != nil {
					t.Fatal(err)
				}
				for i, output := range g.Outputs {
					compare(t, output, r.Output(i), g.Want[i][span[0]*g.Dims[i]:span[1]*g.Dims[i]])
				}
			}
		})
	}
}

func compare(t testing.TB, output string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, want %d", output, len(got), len(want))
		return
	}
	for i := range got {
		if d := math.Abs(float64(got[i] - want[i])); !(d <= 1e-4*max(1, math.Abs(float64(want[i])))) {
			t.Errorf("%s: number %d is %v, want %v", output, i, got[i], want[i])
			return
		}
	}
}

func TestRunnersDoNotDisturbEachOther(t *testing.T) {
	g := readGolden(t, "modulated")
	e, err := Open(g.model, g.spec())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, err := e.NewRunner(3)
			if err != nil {
				t.Error(err)
				return
			}
			copy(r.Input(), g.Images)
			for range 5 {
				if err := r.Run(3); err != nil {
					t.Error(err)
				}
				compare(t, "embedding_b", r.Output(1), g.Want[1])
			}
		})
	}
	wg.Wait()
}

func TestRunRefusesOtherBatches(t *testing.T) {
	r := openRunner(t, readGolden(t, "modulated"), 2)
	for _, n := range []int{-1, 0, 3} {
		if err := r.Run(n); err == nil {
			t.Errorf("a run of %d images of 2 went through", n)
		}
	}
}

func TestCutFilesAreRefused(t *testing.T) {
	g := readGolden(t, "modulated")
	for cut := range 40 {
		model := g.model[:len(g.model)-1-cut*len(g.model)/40]
		if _, err := Open(model, g.spec()); err == nil {
			t.Errorf("with %d of %d bytes: error %v", len(model), len(g.model), err)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	g := readGolden(b, "modulated")
	r := openRunner(b, g, 1)
	copy(r.Input(), g.Images)
	for b.Loop() {
		if err := r.Run(1); err != nil {
			b.Fatal(err)
		}
	}
}
