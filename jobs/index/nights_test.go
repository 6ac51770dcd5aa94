package index

import (
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/internal/testmodel"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
)

// rescaled is the reference model with other scales of one task, whose number is among the outputs.
func rescaled(t *testing.T, task int) string {
	return testmodel.Edited(t, func(m *onnx.ModelProto) {
		out := fmt.Sprintf("/Mul_%d_output_0", 3*task+2)
		gain := make([]float32, 128)
		for i := range gain {
			gain[i] = 1 + 0.02*float32(i%16)
		}
		m.Graph.Initializer = append(m.Graph.Initializer, onnx.NewFloats("gain", []int64{1, 128}, gain))
		n := nodeOf(t, m, out)
		n.Output[0] = "scaled"
		at := slices.Index(m.Graph.Node, n) + 1
		m.Graph.Node = slices.Insert(m.Graph.Node, at, onnx.NewNode("Mul", []string{"scaled", "gain"}, []string{out}))
	})
}

// checkContents wants a snapshot to hold exactly what the folder holds, but for the bad ones.
func checkContents(t *testing.T, s *sinks.Snapshot, want map[string][32]byte, bad map[string]bool) {
	t.Helper()
	have := rows(t, s)
	for name, hash := range want {
		if r, ok := have[name]; ok == bad[name] || ok && r.ContentHash != hash {
			t.Errorf("%s: in the items %v with the right content %v; bad %v", name, ok, r.ContentHash == hash, bad[name])
		}
		delete(have, name)
	}
	for name := range have {
		t.Errorf("%s is in the items and not in the gallery", name)
	}
}

// checkVectors wants a snapshot's vectors to be those that a first night would compute of the same folder.
func checkVectors(t *testing.T, c Config, s *sinks.Snapshot) {
	t.Helper()
	c.Output = t.TempDir()
	run(t, c)
	anew := current(t, c.Output)
	have, want := rows(t, s), rows(t, anew)
	if len(have) != len(want) {
		t.Errorf("%d items, a first night finds %d", len(have), len(want))
	}
	for _, task := range s.Tasks {
		a, b := vectorsOf(t, s, task.Task), vectorsOf(t, anew, task.Task)
		for key, r := range want {
			if got := cosine(a[have[key].ID], b[r.ID]); !(got > 0.99999) {
				t.Errorf("%s of %s: cosine %.6f to what a first night computes", task.Name, key, got)
			}
		}
	}
}

// checkRecall measures each index against the vectors, as the manifest says that it was measured.
func checkRecall(t *testing.T, s *sinks.Snapshot) {
	t.Helper()
	for _, task := range s.Tasks {
		vectors := vectorsOf(t, s, task.Task)
		ids := slices.Sorted(maps.Keys(vectors))
		var found, wanted int
		ix := openIndex(t, s, task)
		for _, q := range ids[:min(len(ids), 100)] {
			exact := slices.Clone(ids)
			slices.SortStableFunc(exact, func(a, b int64) int {
				return -compare(dot(vectors[q], vectors[a]), dot(vectors[q], vectors[b]))
			})
			hits, err := ix.Search(vectors[q], 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range hits[0] {
				if slices.Contains(exact[:10], h.ID) {
					found++
				}
			}
			wanted += 10
		}
		// Held-out queries are not these: the two figures are estimates of one.
		if got := float64(found) / float64(wanted); math.Abs(got-task.Index.Recall) > 0.06 {
			t.Errorf("%s: recall@10 is %.3f, the manifest says %.3f", task.Name, got, task.Index.Recall)
		}
	}
}

func checkLedger(t *testing.T, got, want sinks.Ledger) {
	t.Helper()
	if err := got.Balance(); err != nil {
		t.Error(err)
	}
	rows := want.Embedded + want.Reused
	for name, w := range want.Tasks {
		w.Rows, w.NTotal = rows, rows
		want.Tasks[name] = w
	}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the ledger is\n%+v, want\n%+v", got, want)
	}
}

// ofTasks is the same number of computed vectors for every task but one.
func ofTasks(n int64, but string, other int64) map[string]sinks.TaskLedger {
	m := map[string]sinks.TaskLedger{}
	for _, name := range []string{"articleType", "baseColour", "gender", "usage"} {
		m[name] = sinks.TaskLedger{Computed: n}
		if name == but {
			m[name] = sinks.TaskLedger{Computed: other}
		}
	}
	return m
}

// checkIDs wants keys to keep their ids, and no id to have had another key before.
func checkIDs(t *testing.T, before, after map[string]sinks.Row, taken map[int64]string) {
	t.Helper()
	for key, r := range after {
		if old, ok := before[key]; ok && old.ID != r.ID {
			t.Errorf("%s had id %d and has %d", key, old.ID, r.ID)
		}
		if owner, ok := taken[r.ID]; ok && owner != key {
			t.Errorf("%s has id %d, which was %s's", key, r.ID, owner)
		}
		taken[r.ID] = key
	}
}

// Three nights: all is new; some changes, comes, goes, breaks and moves; one task has other scales. What
// each costs, finds and keeps is what the test works out for itself.
func TestThreeNights(t *testing.T) {
	const n = 240
	s := newShop(t, n, 40)
	c := night(t, s.dir, t.TempDir())
	c.ShardSize, c.Limits.Reject = 30, 0.05
	c.Index = map[string]string{"usage": "IVF4,Flat"}
	first := run(t, c)
	day1 := current(t, c.Output)
	checkLedger(t, first.Ledger, sinks.Ledger{Listed: n, Embedded: n, New: n, Reasons: map[pipeline.Reason]int64{}, Tasks: ofTasks(n, "", 0)})
	checkRecall(t, day1)
	taken := map[int64]string{}
	checkIDs(t, nil, rows(t, day1), taken)

	before, bad := s.contents(), map[string]bool{}
	names := s.names()
	each := func(from, n int, do func(name string)) {
		for _, name := range names[from : from+n] {
			do(name)
		}
	}
	each(0, 12, func(name string) { write(t, s.dir, name, s.fresh()) })                                  // 5 % changed
	each(12, 7, func(name string) { write(t, s.dir, "new-"+name, s.fresh()) })                           // 3 % new
	each(20, 5, s.remove)                                                                                // 2 % deleted
	each(30, 3, func(name string) { write(t, s.dir, name, s.read(name)[:200]); bad[name] = true })       // 1 % corrupted
	each(40, 2, func(name string) { write(t, s.dir, "moved-"+name, s.read(name)); s.remove(name) })      // the same bytes under a new key
	each(50, 2, func(name string) { data := s.read(name); s.remove(name); write(t, s.dir, name, data) }) // and under a new ETag
	each(60, 1, func(name string) { write(t, s.dir, name, s.read(names[70])) })                          // and those of another key
	reader := hold(t, day1)
	second := run(t, c)
	reader.release(t)
	day2 := current(t, c.Output)
	checkLedger(t, second.Ledger, sinks.Ledger{
		Listed: n + 7 - 5, Embedded: 12 + 7, Reused: n - 12 - 5 - 3, Quarantined: 3, Previous: n, New: 7 + 2, Changed: 12 + 3 + 2 + 1, Deleted: 5 + 2,
		Reasons: map[pipeline.Reason]int64{pipeline.Truncated: 3}, Tasks: ofTasks(12+7, "", 0),
	})
	checkContents(t, day2, s.contents(), bad)
	checkIDs(t, rows(t, day1), rows(t, day2), taken)
	checkVectors(t, c, day2)
	checkRecall(t, day2)
	checkVerify(t, c.Output, int64(n+7-5-3))
	if len(before) != n || day2.Parent == nil || *day2.Parent != day1.Snapshot {
		t.Errorf("parent %v", day2.Parent)
	}

	c.Model.Path = rescaled(t, 2)
	third := run(t, c)
	day3 := current(t, c.Output)
	good := int64(n + 7 - 5 - 3)
	checkLedger(t, third.Ledger, sinks.Ledger{
		Listed: good + 3, Embedded: good, Quarantined: 3, Previous: good + 3,
		Reasons: map[pipeline.Reason]int64{pipeline.Truncated: 3}, Tasks: ofTasks(0, "gender", good),
	})
	checkOneTask(t, day2, day3, "gender")
	checkVectors(t, c, day3)
	checkRecall(t, day3)
	checkIDs(t, rows(t, day2), rows(t, day3), taken)
	checkUnchanged(t, c, day3)
}

// checkOneTask wants one task's vectors to differ, and all other files to be the same.
func checkOneTask(t *testing.T, a, b *sinks.Snapshot, task string) {
	t.Helper()
	if !slices.Equal(paths(a, sinks.Items), paths(b, sinks.Items)) {
		t.Error("the items are other files")
	}
	for _, s := range b.Tasks {
		x, y := a.Select(sinks.Embedding, s.Name), b.Select(sinks.Embedding, s.Name)
		same := 0
		for i := range x {
			if x[i].Path == y[i].Path {
				same++
			}
		}
		if want := len(x); s.Name == task && same > 0 || s.Name != task && same < want {
			t.Errorf("%d of %d embeddings files of %s are named again", same, want, s.Name)
		}
	}
}

// checkUnchanged runs a night in which nothing has changed.
func checkUnchanged(t *testing.T, c Config, s *sinks.Snapshot) {
	t.Helper()
	r := run(t, c)
	if !r.Unchanged || r.Snapshot != s.Snapshot || r.Ledger.Reused != s.Ledger.Embedded+s.Ledger.Reused {
		t.Errorf("a night without a change: %+v", r)
	}
	if now := current(t, c.Output); now.Pointer() != s.Pointer() {
		t.Error("nothing has changed, and CURRENT was moved")
	}
}

// Rejected images are left alone while they are unchanged, and tried again when they change or somebody
// asks; a reason that is not asked for is not.
func TestQuarantineIsCarriedOver(t *testing.T) {
	dir := testenv.Fashion(t, 40)
	spoil(t, dir)
	c := night(t, dir, t.TempDir())
	c.Limits.Reject = 0.2
	run(t, c)
	first := current(t, c.Output)
	checkUnchanged(t, c, first)

	for _, reasons := range [][]string{{"denied"}, {"truncated", "empty"}, {"all"}} {
		again := c
		again.Retry = reasons
		checkUnchanged(t, again, first)
	}
	for _, name := range []string{"cut.jpg", "page.jpg"} {
		data, err := os.ReadFile(filepath.Join(dir, firstImage(t, dir)))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, name, data)
	}
	r := run(t, c)
	if l := r.Ledger; l.Quarantined != 1 || l.Reasons[pipeline.Empty] != 1 || l.Changed != 2 || l.Reused != 42 || l.Embedded != 0 {
		t.Errorf("two of three were mended: %+v", l)
	}
	checkVerify(t, c.Output, 42)
}
