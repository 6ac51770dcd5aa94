package index

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/verify"
)

// On real embeddings, an index with inverted lists follows a gallery that changes.
func TestIndexFollowsTheGallery(t *testing.T) {
	const n = 560
	dir, out := testenv.Fashion(t, n), t.TempDir()
	c := night(t, dir, out)
	c.Index = map[string]string{"default": "IVF16,Flat", "usage": "IVF16,SQ8"}
	c.Tasks = []string{"usage", "gender"}
	run(t, c)
	first := current(t, out)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries[:40] {
		name := filepath.Join(dir, e.Name())
		if i%2 == 0 {
			err = os.Rename(name, filepath.Join(dir, "new-"+e.Name()))
		} else {
			err = os.Remove(name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	run(t, c)
	s := current(t, out)
	for i, task := range s.Tasks {
		ix, was := task.Index, first.Tasks[i].Index
		if o := ix.Origin; o.How != "updated" || o.Changed != 60 || o.Trained != first.Snapshot || ix.NTotal != n-20 {
			t.Errorf("the index of %s with %d vectors: %+v", task.Name, ix.NTotal, o)
		}
		if ix.Recall < was.Recall-0.05 || ix.Queries == 0 {
			t.Errorf("recall of %s is %v with %d queries, it was %v", task.Name, ix.Recall, ix.Queries, was.Recall)
		}
	}
	if _, err := verify.Run(t.Context(), out); err != nil {
		t.Error(err)
	}
}
