// Package enginetest runs model files in ONNX Runtime for tests that hold one file's outputs against
// another's.
package enginetest

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/stages/engine"
	"github.com/facet-search/facet/stages/engine/ort"
)

// Tolerance is what two ways to compute one element of a unit vector in float32 may differ by.
const Tolerance = 1e-5

// Run opens a model file as the jobs do and computes the embeddings [n, D] of every task for images
// [n, 3, H, W].
func Run(t testing.TB, file []byte, images []float32) [][]float32 {
	t.Helper()
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	spec := engine.Spec{Input: m.Input}
	spec.Height, spec.Width = m.Preprocess.Output()
	for _, task := range m.Tasks {
		spec.Outputs, spec.Dims = append(spec.Outputs, task.Output), append(spec.Dims, task.Dim)
	}
	return run(t, file, spec, images)
}

// RunOutput is Run for one output [n, dim] of a file without Facet's metadata.
func RunOutput(t testing.TB, file []byte, height, width int, output string, dim int, images []float32) [][]float32 {
	t.Helper()
	return run(t, file, engine.Spec{Input: "images", Height: height, Width: width, Outputs: []string{output}, Dims: []int{dim}}, images)
}

func run(t testing.TB, file []byte, spec engine.Spec, images []float32) [][]float32 {
	t.Helper()
	testenv.ONNXRuntime(t)
	n := len(images) / (3 * spec.Height * spec.Width)
	e, err := ort.Open(file, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r, err := e.NewRunner(n)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	copy(r.Input(), images)
	if err := r.Run(n); err != nil {
		t.Fatal(err)
	}
	var out [][]float32
	for i := range spec.Outputs {
		out = append(out, append([]float32(nil), r.Output(i)...))
	}
	return out
}

// Images are count values drawn as normalised pixels are, the same ones every time.
func Images(count int) []float32 {
	rng := rand.New(rand.NewPCG(3, 3))
	x := make([]float32, count)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// Compare wants every output to be as wanted, within tolerance × the largest value (at least 1).
func Compare(t testing.TB, got, want [][]float32, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d outputs, want %d", len(got), len(want))
	}
	for task := range want {
		if len(got[task]) != len(want[task]) {
			t.Fatalf("output %d: %d values, want %d", task, len(got[task]), len(want[task]))
		}
		worst, largest := 0.0, 0.0
		for i, w := range want[task] {
			worst = max(worst, math.Abs(float64(got[task][i]-w)))
			largest = max(largest, math.Abs(float64(w)))
		}
		if !(worst <= tolerance*max(1, largest)) {
			t.Errorf("output %d differs by %g where values reach %g", task, worst, largest)
		}
		if largest == 0 {
			t.Errorf("output %d is all zeros: this tests nothing", task)
		}
	}
}
