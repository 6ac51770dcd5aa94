package gate

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
)

var limits = Limits{Recall: 0.8, Neighbours: 0.5, Centroid: 0.2, Norm: 0.1, Rejected: 0.01, Deleted: 0.2}

func TestChecks(t *testing.T) {
	balanced := sinks.Ledger{Listed: 90, Embedded: 89, Quarantined: 1, Previous: 100, New: 10, Deleted: 20,
		Reasons: map[pipeline.Reason]int64{pipeline.Empty: 1}}
	lost := balanced
	lost.Embedded = 88
	task := func(recall float64) sinks.TaskState {
		return sinks.TaskState{Task: pipeline.Task{Name: "a"}, Index: sinks.TaskIndex{Recall: recall, Queries: 50, Factory: "Flat"}}
	}
	drift := func(edit func(*Drift)) []sinks.Check {
		d := Drift{Task: "a", Queries: 50, Neighbours: 0.9, Vectors: 500, Centroid: 0.01, Norm: 0.01, SameModel: true, Spread: 0.5, Sampled: 500}
		edit(&d)
		return limits.Drift(d)
	}
	one := func(c sinks.Check) []sinks.Check { return []sinks.Check{c} }
	for _, c := range []struct {
		what   string
		checks []sinks.Check
		says   string // "" when it passes
	}{
		{"a balanced ledger", one(Balance(balanced)), ""},
		{"a lost image", one(Balance(lost)), "ledger: the ledger does not balance: embedded + reused + quarantined = 89, want 90"},
		{"as many deleted as may be", one(Deleted(balanced, 0.2)), ""},
		{"one more", one(Deleted(sinks.Ledger{Previous: 100, Deleted: 21}, 0.2)), "deleted: 21 of the parent's 100 images are gone: a share of 0.2100, the limit is at most 0.2"},
		{"a first night", one(Deleted(sinks.Ledger{}, 0)), ""},
		{"an emptied bucket, allowed or not", one(Empty(sinks.Ledger{Previous: 5, Deleted: 5})), "deleted: the listing is empty, the parent's had 5"},
		{"few rejects", one(Rejected(balanced, 0.02)), ""},
		{"many rejects", one(Rejected(balanced, 0.01)), "rejected: 1 of 90"},
		{"recall", Recall(task(0.8), 0.8), ""},
		{"low recall", Recall(task(0.79), 0.8), `recall: recall@10 of task "a" is 0.7900 on 50 held-out queries (Flat, no search parameters), the limit is at least 0.8`},
		{"recall of too few", Recall(task(-1), 0.8), ""},
		{"drift", drift(func(*Drift) {}), ""},
		{"neighbours lost", drift(func(d *Drift) { d.Neighbours = 0.4 }), "neighbours: 50 unchanged images keep 0.4000"},
		{"neighbours of too few", drift(func(d *Drift) { d.Neighbours, d.Queries = 0, 0 }), ""},
		{"a mean that moved", drift(func(d *Drift) { d.Centroid = 0.3 }), "centroid: "},
		{"a mean of another network", drift(func(d *Drift) { d.Centroid, d.SameModel = 0.3, false }), ""},
		{"longer vectors", drift(func(d *Drift) { d.Norm, d.SameModel = 0.2, false }), "norm: "},
		{"the same vector again and again", drift(func(d *Drift) { d.Spread = 0 }), "spread: "},
		{"no figure", drift(func(d *Drift) { d.Centroid = math.NaN() }), "centroid: "},
		{"a damaged parent", drift(func(d *Drift) { d.Obstacle = "gone" }), ""},
	} {
		err := Verdict(c.checks)
		if (err == nil) != (c.says == "") || err != nil && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.says)
		}
		if _, err := json.Marshal(c.checks); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestMoments(t *testing.T) {
	var axes, same, long Moments
	for range 20 {
		axes.Add([]float32{1, 0, -1, 0, 0, 1, 0, -1}, 2)
		same.Add([]float32{0, 1, 0, 1}, 2)
		long.Add([]float32{0, 3, 0, 3}, 2)
	}
	if axes.N != 80 || axes.Spread() != 1 || same.Spread() != 0 || long.Length() != 3 {
		t.Errorf("spreads %v and %v of %d, length %v", axes.Spread(), same.Spread(), axes.N, long.Length())
	}
	var d Drift
	if d.compare(axes, same); d.Vectors != 40 || d.Centroid != 1 || d.Norm != 0 {
		t.Errorf("from the axes' ends to (0, 1): %+v", d)
	}
	if d.compare(same, long); d.Centroid != 2 || d.Norm != 2 {
		t.Errorf("from (0, 1) to (0, 3): %+v", d)
	}
	few := Moments{}
	few.Add([]float32{0, 1}, 2)
	if d.compare(few, same); d.Vectors != 0 {
		t.Errorf("one vector is compared: %+v", d)
	}
}

func hits(from, n int64, distance func(i int64) float32) (h []faiss.Hit) {
	for i := range n {
		h = append(h, faiss.Hit{ID: from + i, Distance: distance(i)})
	}
	return h
}

func TestKept(t *testing.T) {
	falling := func(i int64) float32 { return 1 - float32(i)/100 }
	level := func(int64) float32 { return 0.5 }
	for _, c := range []struct {
		what    string
		was, is []faiss.Hit
		want    float64
	}{
		{"all", hits(0, 30, falling), hits(0, 30, falling), 1},
		{"the last four are others", hits(0, 30, falling), hits(4, 30, falling), 0.6},
		{"others that were as near", hits(0, 30, level), hits(4, 30, falling), 1},
		{"none", hits(0, 30, falling), hits(40, 30, falling), 0},
		{"an index that finds three", hits(0, 30, falling), hits(0, 3, falling), 0.3},
		{"a gallery of three", hits(0, 3, falling), hits(0, 3, falling), 1},
		{"nothing either time", nil, nil, 1},
	} {
		if got := kept(c.was, c.is); got != c.want {
			t.Errorf("%s: %v kept, want %v", c.what, got, c.want)
		}
	}
	both := func(id int64) bool { return id != 2 }
	if got := (found{query: 1, hits: hits(0, 4, falling)}).among(both); len(got) != 2 || got[0].ID != 0 || got[1].ID != 3 {
		t.Errorf("without the query 1 and 2, which is gone: %v", got)
	}
}

func TestMembers(t *testing.T) {
	m := newMembers([]int64{0, 130})
	base := int64(1) << pipeline.ShardShift
	m.add([]int64{base, base + 129, base + 130, 5, -1, 9 << pipeline.ShardShift})
	for id, want := range map[int64]bool{base: true, base + 129: true, base + 1: false, base + 130: false, 5: false, -1: false, 9 << pipeline.ShardShift: false} {
		if m.has(id) != want {
			t.Errorf("has(%d) is %v", id, !want)
		}
	}
}
