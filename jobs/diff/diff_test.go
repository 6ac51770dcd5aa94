package diff

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/sinks/faiss"
)

func TestMain(m *testing.M) {
	faiss.MaybeChild()
	os.Exit(m.Run())
}

// Two nights with images added, removed, replaced and only touched; the shards without any are not read.
func TestDiff(t *testing.T) {
	testenv.ONNXRuntime(t)
	dir := testenv.Fashion(t, 90)
	c := index.Defaults()
	c.Gallery.Prefix, c.Output, c.Scratch = dir, t.TempDir(), t.TempDir()
	c.Model.Path, c.Tasks, c.ShardSize = testenv.Shared(t, "models/fashion/model.onnx"), []string{"usage"}, 4
	night := func() string {
		r, err := index.Run(t.Context(), c, progress.Discard())
		if err != nil {
			t.Fatal(err)
		}
		return r.Snapshot
	}
	first := night()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := func(i int) string { return filepath.Join(dir, entries[i].Name()) }
	data, err := os.ReadFile(name(0))
	touched := time.Now().Add(-time.Hour)
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "new.jpg"), data, 0o600), os.Remove(name(1)), os.Remove(name(2)),
		os.WriteFile(name(3), data, 0o600), os.Chtimes(name(4), touched, touched))
	if err != nil {
		t.Fatal(err)
	}
	second := night()

	got := map[string]Kind{}
	r, err := Run(t.Context(), Request{Output: c.Output, A: first, B: second, Queries: 50}, func(c Change) error {
		got[c.Key] = c.Kind
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Kind{
		"new.jpg": Added, entries[1].Name(): Removed, entries[2].Name(): Removed, entries[3].Name(): Changed, entries[4].Name(): Relisted,
	}
	if !maps.Equal(got, want) {
		t.Errorf("changes %v, want %v", got, want)
	}
	if r.Shards < 1 || r.Shards > 5 || r.Of < 16 || r.Counts[Removed] != 2 || r.Images != [2]int64{90, 89} {
		t.Errorf("%+v", r)
	}
	task := r.Tasks[0]
	if len(r.Tasks) != 1 || task.Files < 1 || task.Files > 4 || task.Drift.Queries != 50 || task.Drift.Neighbours < 0.9 || !task.Drift.SameModel {
		t.Errorf("%+v %+v", r.Tasks, task.Drift)
	}
	if _, err := Run(t.Context(), Request{Output: c.Output, A: first, B: second, Task: "shape"}, nil); !errors.Is(err, jobfile.ErrConfig) {
		t.Errorf("a task that neither has: %v", err)
	}
}
