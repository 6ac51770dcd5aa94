package verify

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
)

// Embeddings are computed again from the images: what differs is found, and an image that has changed since
// is no damage.
func TestDeep(t *testing.T) {
	gallery, output := night(t, 36, "usage", "gender")
	p := copyOf(t, output)
	deep := Options{Output: p.dir, Deep: true, Sample: 100}
	r, err := Check(t.Context(), deep)
	if err != nil || r.Deep.Images != 36 || r.Deep.LeastCosine < leastCosine || len(r.Deep.Moved) > 0 {
		t.Fatalf("%v: %+v", err, r.Deep)
	}
	few := deep
	few.Sample = 10
	if r, err := Check(t.Context(), few); err != nil || r.Deep.Images < 2 || r.Deep.Images > 25 {
		t.Errorf("about 10 of 36: %v: %+v", err, r.Deep)
	}

	shard := p.file(sinks.Items, "", 0).Shard
	items := p.rows(shard).Items
	write(t, filepath.Join(gallery, items[0].Key), read(t, filepath.Join(gallery, items[1].Key)))
	if err := os.Remove(filepath.Join(gallery, items[2].Key)); err != nil {
		t.Fatal(err)
	}
	r, err = Check(t.Context(), deep)
	slices.Sort(r.Deep.Moved)
	want := []string{items[0].Key, items[2].Key}
	slices.Sort(want)
	if err != nil || r.Deep.Images != 34 || !slices.Equal(r.Deep.Moved, want) {
		t.Errorf("%v: %+v, want %v to have moved", err, r.Deep, want)
	}

	// A rotation by a hundredth of a radian, in embeddings and index alike.
	p.rewrite(shard, func(_ []*pipeline.Item, v [][]float32) {
		x := vectorOf(p, v, 1, 1)
		sin, cos := math.Sincos(0.02)
		x[0], x[1] = float32(cos)*x[0]-float32(sin)*x[1], float32(sin)*x[0]+float32(cos)*x[1]
		for i := range x[:64] {
			x[i], x[i+64] = float32(cos)*x[i]-float32(sin)*x[i+64], float32(sin)*x[i]+float32(cos)*x[i+64]
		}
	})
	p.reindex(p.Tasks[1].Name, p.Select(sinks.Embedding, p.Tasks[1].Name))
	p.manifest()
	if r, err := Run(t.Context(), p.dir); err != nil {
		t.Fatalf("the tables and the index agree: %v: %v", err, r)
	}
	r, err = Check(t.Context(), deep)
	if !errors.Is(err, ErrDifferences) || len(r.Differences) != 1 || !strings.Contains(r.Differences[0], items[1].Key) {
		t.Errorf("a rotated vector: %v: %v", err, r.Differences)
	}

	p.Gallery = ""
	p.manifest()
	if _, err := Check(t.Context(), deep); !errors.Is(err, jobfile.ErrConfig) {
		t.Errorf("a manifest that does not say where the images are: %v", err)
	}
	deep.Gallery = gallery
	if r, err := Check(t.Context(), deep); !errors.Is(err, ErrDifferences) || r.Deep.Images != 34 {
		t.Errorf("with the gallery given: %v", err)
	}
}

// A snapshot that is not the current one is verified by its id.
func TestAnotherSnapshot(t *testing.T) {
	_, output := night(t, 12, "usage")
	p := copyOf(t, output)
	if err := os.Remove(filepath.Join(p.dir, sinks.CurrentPath)); err != nil {
		t.Fatal(err)
	}
	o := Options{Output: p.dir, Snapshot: p.Snapshot.Snapshot}
	if r, err := Check(t.Context(), o); err != nil || r.Images != 12 {
		t.Errorf("%v: %v", err, r)
	}
	if _, err := Check(t.Context(), Options{Output: p.dir, Snapshot: "none"}); !errors.Is(err, sinks.ErrNoSnapshot) {
		t.Errorf("a snapshot that is not there: %v", err)
	}
	write(t, filepath.Join(p.dir, sinks.ManifestPath(o.Snapshot)), []byte("{"))
	if r, err := Check(t.Context(), o); !errors.Is(err, ErrDifferences) {
		t.Errorf("a damaged manifest: %v: %v", err, r)
	}
}
