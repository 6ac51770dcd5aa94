//go:build soak

package evaluate

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/progress"
)

// On the whole gallery, the figures of the reference model are PyTorch's: the share of queries of the
// test split whose nearest neighbour among the first 8,000 images of the training split is right, and
// the accuracy of 4,000 triplets, within the error of drawing them (3σ of a difference). PyTorch's gallery
// kept the images without a label, as neighbours that are always wrong: 15 of 8,000 for the usage.
func TestReferenceModelInFull(t *testing.T) {
	dir := t.TempDir()
	testenv.FashionEach(t, 36485, func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	c := fashion(t, dir)
	c.Measure.Against, c.Measure.Limit = "train", 8000
	r, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range r.Tasks {
		want := report(t)[task.Task].(map[string]any)
		p, accuracy := want["p_at_1"].(float64), want["triplet_accuracy"].(float64)
		if math.Abs(float64(task.Recall1)-p) > 0.005 {
			t.Errorf("%s: precision at 1 is %.4f, PyTorch measured %.4f", task.Task, task.Recall1, p)
		}
		if math.Abs(float64(task.TripletAccuracy)-accuracy) > 3*math.Sqrt(2*accuracy*(1-accuracy)/4000) {
			t.Errorf("%s: triplet accuracy is %.4f, PyTorch measured %.4f", task.Task, task.TripletAccuracy, accuracy)
		}
	}
}
