// Package testmodel makes models that a job must not publish, out of the reference model.
package testmodel

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/modulation/onnx"
)

// Edited is the reference model after an edit, as a file.
func Edited(t testing.TB, edit func(*onnx.ModelProto)) string {
	t.Helper()
	file, err := os.ReadFile(testenv.Shared(t, "models/fashion/model.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := onnx.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	edit(m)
	if file, err = onnx.Write(m); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Untrained draws every weight anew, as large as they were.
func Untrained(m *onnx.ModelProto) {
	r := rand.New(rand.NewPCG(1, 2))
	for i, x := range m.GetGraph().GetInitializer() {
		v, err := x.Floats()
		if err != nil || len(x.GetDims()) < 2 {
			continue // not a tensor of weights
		}
		square := 0.0
		for _, w := range v {
			square += float64(w) * float64(w) / float64(len(v))
		}
		for k := range v {
			v[k] = float32(r.NormFloat64() * math.Sqrt(square))
		}
		m.Graph.Initializer[i] = onnx.NewFloats(x.GetName(), x.GetDims(), v)
	}
}

// Constant makes the task gender answer the same for every image.
func Constant(m *onnx.ModelProto) {
	const output = "embedding_gender"
	unit := make([]float32, 128)
	unit[3] = 1
	for _, n := range m.GetGraph().GetNode() {
		if n.GetOutput()[0] == output {
			n.Output[0] = "was"
		}
	}
	m.Graph.Initializer = append(m.Graph.Initializer,
		onnx.NewFloats("zero", []int64{1}, []float32{0}), onnx.NewFloats("unit", []int64{1, 128}, unit))
	m.Graph.Node = append(m.Graph.Node, onnx.NewNode("Mul", []string{"was", "zero"}, []string{"nothing"}),
		onnx.NewNode("Add", []string{"nothing", "unit"}, []string{output}))
}
