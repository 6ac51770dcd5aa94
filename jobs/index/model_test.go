package index

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/internal/testmodel"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/stages"
)

// nodeOf is the node that computes a value.
func nodeOf(t *testing.T, m *onnx.ModelProto, output string) *onnx.NodeProto {
	t.Helper()
	for _, n := range m.GetGraph().GetNode() {
		if n.GetOutput()[0] == output {
			return n
		}
	}
	t.Fatalf("no node computes %s", output)
	return nil
}

// A model that breaks its promise stops the job with the names of an image and of the task, and
// publishes nothing.
func TestModelsThatBreakTheirPromise(t *testing.T) {
	dir := testenv.Fashion(t, 20)
	for what, edit := range map[string]func(*onnx.ModelProto){
		"NaN or infinity": func(m *onnx.ModelProto) {
			n := nodeOf(t, m, "embedding_gender")
			m.Graph.Initializer = append(m.Graph.Initializer, onnx.NewFloats("nan", []int64{1}, []float32{float32(math.NaN())}))
			n.Input[1] = "nan"
		},
		"has length": func(m *onnx.ModelProto) {
			n := nodeOf(t, m, "embedding_gender")
			m.Graph.Initializer = append(m.Graph.Initializer, onnx.NewFloats("half", []int64{1}, []float32{0.5}))
			n.Input[1] = "half"
		},
	} {
		c := night(t, dir, t.TempDir())
		c.Model.Path = testmodel.Edited(t, edit)
		_, err := Run(t.Context(), c, progress.Discard())
		if !errors.Is(err, stages.ErrModel) {
			t.Errorf("%s: %v", what, err)
			continue
		}
		for _, name := range []string{what, `"gender"`, "embedding_gender", ".jpg"} {
			if !strings.Contains(err.Error(), name) {
				t.Errorf("%q does not name %s", err, name)
			}
		}
		checkNothing(t, c)
	}
}

// What a model lacks is found before any work.
func TestModelsThatLackSomething(t *testing.T) {
	dir := testenv.Fashion(t, 3)
	for what, edit := range map[string]func(*onnx.ModelProto){
		"an output that is not there": func(m *onnx.ModelProto) { m.Graph.Output = m.Graph.Output[:3] },
		"a wrong length of vector": func(m *onnx.ModelProto) {
			tasks, _ := m.Metadata("facet.tasks")
			m.SetMetadata("facet.tasks", strings.Replace(tasks, "128", "64", 1))
		},
		"another size of input": func(m *onnx.ModelProto) {
			p, _ := m.Metadata("facet.preprocess")
			m.SetMetadata("facet.preprocess", strings.Replace(p, "[64, 64]", "[64, 96]", 1))
		},
	} {
		c := night(t, dir, t.TempDir())
		c.Model.Path = testmodel.Edited(t, edit)
		if _, err := Run(t.Context(), c, progress.Discard()); !errors.Is(err, jobfile.ErrConfig) {
			t.Errorf("%s: %v", what, err)
		}
		checkNothing(t, c)
	}
}
