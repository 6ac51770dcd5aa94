package index

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
)

// A manifest chooses the images and brings attributes, which end in the items; a key of which there is
// no object is quarantined, and a key given twice is indexed once.
func TestManifest(t *testing.T) {
	dir := testenv.Fashion(t, 60)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var csv strings.Builder
	fmt.Fprintln(&csv, "colour,file,price")
	for i, e := range entries[:40] {
		fmt.Fprintf(&csv, "colour %d,%s,9\n", i, e.Name())
	}
	fmt.Fprintf(&csv, "red,%s,9\nred,none.jpg,9\n", entries[0].Name())
	list := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(list, []byte(csv.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c := night(t, dir, t.TempDir())
	c.Gallery.Manifest, c.Gallery.Key, c.Gallery.Attributes = list, "file", []string{"colour"}
	c.Limits.Reject = 0.1
	r := run(t, c)
	l := r.Ledger
	if l.Listed != 41 || l.Embedded != 40 || l.Duplicates != 1 || l.Reasons[pipeline.Gone] != 1 {
		t.Errorf("ledger %+v", l)
	}
	checkVerify(t, c.Output, 40)
	s := current(t, c.Output)
	for _, f := range s.Select(sinks.Items, "") {
		err := s.EachItem(t.Context(), f, func(r sinks.Row) error {
			if len(r.Attributes) != 1 || !strings.HasPrefix(r.Attributes[0], "colour ") {
				t.Errorf("%s has the attributes %q", r.Key, r.Attributes)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}

	c.Output, c.Gallery.Key = t.TempDir(), "shelf"
	if _, err := Run(t.Context(), c, progress.Discard()); err == nil || !strings.Contains(err.Error(), "shelf") {
		t.Errorf("a column that the manifest lacks: %v", err)
	}
}
