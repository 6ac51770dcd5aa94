package repair

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/jobs/verify"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
)

func TestMain(m *testing.M) {
	faiss.MaybeChild()
	os.Exit(m.Run())
}

func night(t *testing.T, format string) index.Config {
	t.Helper()
	testenv.ONNXRuntime(t)
	c := index.Defaults()
	c.Gallery.Prefix, c.Output, c.Scratch = testenv.Fashion(t, 40), t.TempDir(), t.TempDir()
	c.Model.Path, c.Tasks = testenv.Shared(t, "models/fashion/model.onnx"), []string{"usage", "gender"}
	c.ShardSize, c.Limits.Reject, c.Format = 15, 0.5, format
	write(t, filepath.Join(c.Gallery.Prefix, "empty.jpg"), "")
	write(t, filepath.Join(c.Gallery.Prefix, "page.jpg"), "<html>")
	run(t, c)
	return c
}

func run(t *testing.T, c index.Config) {
	t.Helper()
	if _, err := index.Run(t.Context(), c, progress.Discard()); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func current(t *testing.T, output string) *sinks.Snapshot {
	t.Helper()
	objects, err := store.Open(t.Context(), output)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sinks.OpenCurrent(t.Context(), objects)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ids are those of all keys, the rejected ones' included.
func ids(t *testing.T, s *sinks.Snapshot) map[string]int64 {
	t.Helper()
	all := map[string]int64{}
	for _, f := range s.Select(sinks.Items, "") {
		err := s.EachItem(t.Context(), f, func(r sinks.Row) error {
			all[r.Key] = r.ID
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// first is the first file of a kind and task.
func first(s *sinks.Snapshot, k sinks.Kind, task string) sinks.File { return s.Select(k, task)[0] }

// damage flips a bit of every file of the given kinds in the first one's shard.
func damage(t *testing.T, output string, s *sinks.Snapshot, kinds ...sinks.Kind) {
	t.Helper()
	shard := first(s, sinks.Items, "").Shard
	for _, f := range s.Files {
		if !slices.Contains(kinds, f.Kind) || f.Shard != shard && f.Kind != sinks.Index && f.Kind != sinks.IndexInfos {
			continue
		}
		name := filepath.Join(output, f.Path)
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)/2] ^= 4
		write(t, name, string(data))
	}
}

func paths(s *sinks.Snapshot) map[string]bool {
	all := map[string]bool{}
	for _, f := range s.Files {
		if f.Kind != sinks.QuarantineTable {
			all[f.Path] = true
		}
	}
	return all
}

// Whatever is damaged is made again: the files have the names, and so the contents, that they had, and every
// key its id.
func TestRepair(t *testing.T) {
	for what, c := range map[string]struct {
		format   string
		kinds    []sinks.Kind
		embedded bool // images of the shard again
		infos    bool // hold how long searches took, and so are never the same again
	}{
		"an index":                           {"parquet", []sinks.Kind{sinks.Index}, false, false},
		"embeddings":                         {"parquet", []sinks.Kind{sinks.Embedding}, true, false},
		"items beside Arrow":                 {"arrow", []sinks.Kind{sinks.Items}, true, false},
		"items of a first snapshot":          {"parquet", []sinks.Kind{sinks.Items}, true, false},
		"items and embeddings and the index": {"parquet", []sinks.Kind{sinks.Items, sinks.Embedding, sinks.Index, sinks.IndexInfos}, true, true},
	} {
		n := night(t, c.format)
		before := current(t, n.Output)
		want, files := ids(t, before), paths(before)
		damage(t, n.Output, before, c.kinds...)
		out, err := Run(t.Context(), Options{Options: verify.Options{Output: n.Output}}, progress.Discard())
		if err != nil {
			t.Errorf("%s: %v, %+v", what, err, out)
			continue
		}
		after := current(t, n.Output)
		if after.Parent == nil || *after.Parent != before.Snapshot || len(out.Losses) > 0 {
			t.Errorf("%s: parent %v, losses %v", what, after.Parent, out.Losses)
		}
		if !maps.Equal(ids(t, after), want) || !maps.Equal(paths(after), files) {
			t.Errorf("%s: other ids or files than before: %v, want %v", what, paths(after), files)
		}
		if e := after.Ledger.Embedded; (e > 0) != c.embedded || e == after.Ledger.Listed {
			t.Errorf("%s: %d images embedded again", what, e)
		}
		if _, err := verify.Check(t.Context(), verify.Options{Output: n.Output, Snapshot: before.Snapshot}); err != nil && !c.infos {
			t.Errorf("%s: what was damaged is not whole again below its names: %v", what, err)
		}
	}
}

// Ids of lost items are those of the snapshot before; what cannot be known is told of.
func TestRepairOfLaterNights(t *testing.T) {
	c := night(t, "parquet")
	remove(t, c, 1)
	run(t, c)
	s := current(t, c.Output)
	want, shard := ids(t, s), first(s, sinks.Items, "").Shard
	damage(t, c.Output, s, sinks.Items)
	out, err := Run(t.Context(), Options{Options: verify.Options{Output: c.Output}}, progress.Discard())
	if err != nil || len(out.Losses) > 0 || !maps.Equal(ids(t, current(t, c.Output)), want) {
		t.Fatalf("%v, losses %v", err, out.Losses)
	}

	forgetAncestors(t, c.Output)
	damage(t, c.Output, current(t, c.Output), sinks.Items)
	out, err = Run(t.Context(), Options{Options: verify.Options{Output: c.Output}}, progress.Discard())
	if err != nil || len(out.Losses) != 1 || !strings.Contains(out.Losses[0], "get new ones") {
		t.Errorf("%v, losses %v", err, out.Losses)
	}
	after := ids(t, current(t, c.Output))
	for key, id := range want {
		if same := after[key] == id; same == (int(id>>pipeline.ShardShift) == shard) {
			t.Errorf("%s had id %d and has %d", key, id, after[key])
		}
	}
}

// remove deletes the image of a row of the first shard.
func remove(t *testing.T, c index.Config, row int) {
	t.Helper()
	s := current(t, c.Output)
	err := s.EachItem(t.Context(), first(s, sinks.Items, ""), func(r sinks.Row) error {
		if row--; row != -1 {
			return nil
		}
		return os.Remove(filepath.Join(c.Gallery.Prefix, r.Key))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// forgetAncestors deletes the manifests of all snapshots but the current one.
func forgetAncestors(t *testing.T, output string) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(output, "snapshots", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if filepath.Base(dir) == current(t, output).Snapshot {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingToRepair(t *testing.T) {
	c := night(t, "parquet")
	o := Options{Options: verify.Options{Output: c.Output}}
	out, err := Run(t.Context(), o, progress.Discard())
	if err != nil || out.Repaired != nil {
		t.Errorf("a whole snapshot: %v, %+v", err, out)
	}
	s := current(t, c.Output)
	damage(t, c.Output, s, sinks.QuarantineTable)
	for _, f := range s.Select(sinks.QuarantineTable, "") {
		write(t, filepath.Join(c.Output, f.Path), "")
	}
	out, err = Run(t.Context(), o, progress.Discard())
	if err != nil || len(out.Losses) != 1 || current(t, c.Output).Ledger.Deleted != 2 {
		t.Errorf("a lost quarantine: %v, %+v", err, out)
	}
	model := first(current(t, c.Output), sinks.Model, "").Path
	write(t, filepath.Join(c.Output, model), "x")
	if _, err := Run(t.Context(), o, progress.Discard()); !errors.Is(err, jobfile.ErrConfig) {
		t.Errorf("a lost model: %v", err)
	}
	o.Model = c.Model.Path
	if _, err := Run(t.Context(), o, progress.Discard()); err != nil {
		t.Errorf("a lost model that is given: %v", err)
	}
	write(t, filepath.Join(c.Output, sinks.CurrentPath), "{}")
	if _, err := Run(t.Context(), o, progress.Discard()); !errors.Is(err, ErrBeyond) {
		t.Errorf("a damaged pointer: %v", err)
	}
}
