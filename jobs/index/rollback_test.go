package index

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/facet-search/facet/jobs/publish"
	"github.com/facet-search/facet/sinks"
)

// A snapshot that is rolled back has been seen: the ids of its new images are given to no others, not
// even after two rollbacks.
func TestRolledBackIDsAreNotReused(t *testing.T) {
	s := newShop(t, 20, 3)
	c := night(t, s.dir, t.TempDir())
	c.Tasks = []string{"usage"}
	first := run(t, c).Snapshot
	given := map[int64]string{}
	note := func(name string) {
		id := rows(t, current(t, c.Output))[name].ID
		if other, taken := given[id]; taken || id == 0 {
			t.Errorf("%s has id %d, which was given to %q", name, id, other)
		}
		given[id] = name
	}
	for _, name := range []string{"zz.jpg", "yy.jpg"} { // each sorts before the last
		write(t, s.dir, name, s.fresh())
		run(t, c)
		note(name)
		s.remove(name)
		back := publish.Request{Output: c.Output, Snapshot: first, By: "a test", Reason: "its ids"}
		if _, err := publish.Rollback(t.Context(), back); err != nil {
			t.Fatal(err)
		}
	}
	write(t, s.dir, "xx.jpg", s.fresh())
	last := run(t, c).Snapshot
	note("xx.jpg")
	// What went on from the first snapshot is no successor of the last: its ids may be other images' there.
	for _, id := range siblings(t, c.Output, first, last) {
		if _, err := publish.Accept(t.Context(), publish.Request{Output: c.Output, Snapshot: id, By: "a test", Reason: "none"}); err == nil {
			t.Errorf("snapshot %s goes on from %s and was accepted after %s", id, first, last)
		}
	}
}

// siblings are the snapshots below an output but the two that are named.
func siblings(t *testing.T, output string, but ...string) (ids []string) {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(output, sinks.ManifestPath("*")))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifests {
		if id := filepath.Base(filepath.Dir(m)); !slices.Contains(but, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) != 2 {
		t.Fatalf("%d snapshots were rolled back, want 2", len(ids))
	}
	return ids
}
