package faiss

import (
	"cmp"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

// night is what a gallery of test vectors holds, by the position of a vector among all.
type night struct {
	all     []float32
	holds   map[int64]int // id → position
	removed []int64       // ids that are to leave last night's index, changed ones too
	added   []int64       // ids that are to come
}

// next lets some vectors leave, changes some, and adds some.
func (n *night) next(r *rand.Rand, changes int) {
	n.removed, n.added = nil, nil
	ids := sortedIDs(n.holds)
	for _, i := range r.Perm(len(ids))[:2*changes] {
		id := ids[i]
		n.removed = append(n.removed, id)
		delete(n.holds, id)
		if len(n.removed)%2 == 0 {
			n.added = append(n.added, id)
		}
	}
	for range changes {
		n.added = append(n.added, 7<<40+r.Int64N(1<<40))
	}
	for _, id := range n.added {
		n.holds[id] = r.IntN(len(n.all) / testDim)
	}
	slices.Sort(n.removed)
	slices.Sort(n.added)
}

func sortedIDs(m map[int64]int) []int64 {
	var ids []int64
	for id := range m {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (n *night) vectors(ids []int64) []float32 {
	var v []float32
	for _, id := range ids {
		v = append(v, n.all[n.holds[id]*testDim:(n.holds[id]+1)*testDim]...)
	}
	return v
}

// update brings an index file up to the night, in batches.
func (n *night) update(t *testing.T, spec Spec, from, to string, hold, batch int) (Report, Stats) {
	t.Helper()
	spec.Trained, spec.Update = "", from
	b, err := Start(t.Context(), spec)
	must(t, err)
	defer func() { must(t, b.Close()) }()
	ids := sortedIDs(n.holds)
	split := NewSplit(len(ids), hold, 0)
	gone := slices.Clone(n.removed)
	parts := map[string][]int64{}
	for _, id := range ids {
		_, isNew := slices.BinarySearch(n.added, id)
		switch {
		case split.HeldOut(id):
			parts["hold"] = append(parts["hold"], id)
			if !isNew {
				gone = append(gone, id)
			}
		case isNew:
			parts["add"] = append(parts["add"], id)
		default:
			parts["compare"] = append(parts["compare"], id)
		}
	}
	must(t, b.Remove(gone))
	for _, p := range []struct {
		ids []int64
		do  func([]int64, []float32) error
	}{{parts["hold"], b.HoldOut}, {parts["compare"], b.Compare}, {parts["add"], b.Add}} {
		for some := range slices.Chunk(p.ids, batch) {
			must(t, p.do(some, n.vectors(some)))
		}
	}
	report, err := b.Finish()
	must(t, err)
	stats, _, err := b.Write(to)
	must(t, err)
	return report, stats
}

var updatable = []string{
	"IVF16,Flat", "IVF16,SQ8", "IVF16,SQfp16", "IVF16,PQ4x4", "OPQ2_8,IVF16,PQ2x4", "PCAR16,IVF16,SQ8", "IVF16_HNSW32,Flat",
}

// Over several nights the updated index is what adding everything to the same trained quantizers
// gives: the same ids, the same neighbours, the same recall.
func TestUpdateEqualsAddingAnew(t *testing.T) {
	const hold = 100
	ids, vectors := gallery(2500, testDim)
	for _, f := range updatable {
		t.Run(f, func(t *testing.T) {
			t.Parallel()
			trained, _ := shards(t, f, 0)
			resolved, err := Resolve(f)
			must(t, err)
			spec := Spec{Task: task("style", testDim), Factory: resolved, Trained: trained}
			n := &night{all: vectors, holds: map[int64]int{}}
			for i, id := range ids[:1500] {
				n.holds[id] = i
			}
			last := tempFile(t, "0.index")
			recipe{spec: spec, hold: hold, batch: 500}.build(t, last, sortedIDs(n.holds), n.vectors(sortedIDs(n.holds)))
			r := rand.New(rand.NewPCG(21, 22))
			for i := range 3 {
				n.next(r, 40+40*i)
				updated, anew := tempFile(t, "updated.index"), tempFile(t, "anew.index")
				report, stats := n.update(t, spec, last, updated, hold, 300)
				all := sortedIDs(n.holds)
				want, wantStats := recipe{spec: spec, hold: hold, batch: 500}.build(t, anew, all, n.vectors(all))
				if stats != wantStats || report.Queries != want.Queries || report.Vectors != want.Vectors {
					t.Errorf("night %d: %+v, %+v, want %+v, %+v", i, stats, report, wantStats, want)
				}
				if report.Params == want.Params && math.Abs(deref(report.Recall10)-deref(want.Recall10)) > 0.01 { // short codes tie
					t.Errorf("night %d: recall %v, want %v", i, deref(report.Recall10), deref(want.Recall10))
				}
				sameAnswers(t, updated, anew, all, n.vectors(all[:50]))
				last = updated
			}
		})
	}
}

// sameAnswers compares two index files by their ids and by what they find.
func sameAnswers(t *testing.T, a, b string, ids []int64, queries []float32) {
	t.Helper()
	var want IDSet
	want.Add(ids...)
	var found [2][][]Hit
	for i, path := range []string{a, b} {
		s, err := OpenIndex(t.Context(), path, task("style", testDim), 1)
		must(t, err)
		got, err := s.IDSet()
		must(t, err)
		if got != want {
			t.Errorf("index %d holds the ids %v, want %v", i, got, want)
		}
		must(t, s.Tune("nprobe=16"))
		found[i], err = s.Search(queries, 10)
		must(t, err)
		must(t, s.Close())
	}
	for q := range found[0] {
		x, y := settled(found[0][q]), settled(found[1][q])
		if !slices.Equal(x, y) {
			t.Errorf("query %d finds %v, and %v", q, x, y)
		}
	}
}

// settled are the hits in an order that ties do not change; which of those that tie with the last are
// among them is open.
func settled(hits []Hit) []Hit {
	last := hits[len(hits)-1].Distance
	kept := slices.DeleteFunc(slices.Clone(hits), func(h Hit) bool { return h.Distance == last })
	slices.SortFunc(kept, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Distance, a.Distance), cmp.Compare(a.ID, b.ID))
	})
	return kept
}

// TestUpdateSameBytes makes the same update twice, in other batches.
func TestUpdateSameBytes(t *testing.T) {
	ids, vectors := gallery(2500, testDim)
	for _, f := range updatable {
		trained, _ := shards(t, f, 0)
		resolved, err := Resolve(f)
		must(t, err)
		spec := Spec{Task: task("style", testDim), Factory: resolved, Trained: trained}
		first := tempFile(t, "first.index")
		recipe{spec: spec, batch: 500}.build(t, first, ids[:1500], vectors[:1500*testDim])
		before := digest(t, first)
		n := &night{all: vectors, holds: map[int64]int{}}
		for i, id := range ids[:1500] {
			n.holds[id] = i
		}
		n.next(rand.New(rand.NewPCG(23, 24)), 50)
		a, b := tempFile(t, "a.index"), tempFile(t, "b.index")
		n.update(t, spec, first, a, 100, 5000)
		n.update(t, spec, first, b, 100, 77)
		if digest(t, a) != digest(t, b) {
			t.Errorf("%s: other batches give other bytes", f)
		}
		if digest(t, first) != before {
			t.Errorf("%s: the update wrote to the file it began with", f)
		}
	}
}

func TestUpdateRefuses(t *testing.T) {
	ids, vectors := gallery(1000, testDim)
	index := func(factory string) string {
		path := tempFile(t, "knn.index")
		recipe{spec: Spec{Task: task("style", testDim), Factory: factory}, batch: 500}.build(t, path, ids, vectors)
		return path
	}
	lists := index("IVF16,Flat")
	cut := tempFile(t, "cut.index")
	whole, err := os.ReadFile(lists)
	must(t, err)
	must(t, os.WriteFile(cut, whole[:len(whole)/2], 0o600))
	for name, c := range map[string]struct {
		spec Spec
		do   func(b *Builder) error
		says string
	}{
		"an id that is not there": {Spec{Update: lists}, func(b *Builder) error { return b.Remove([]int64{ids[0], -5}) }, "of 2 ids to be removed the index held 1"},
		"a graph":                 {Spec{Factory: "IDMap2,HNSW32", Update: index("HNSW32")}, func(b *Builder) error { return b.Remove(ids[:1]) }, "remove"},
		"removing late": {Spec{Update: lists}, func(b *Builder) error {
			if err := b.HoldOut(ids[:1], vectors[:testDim]); err != nil {
				return err
			}
			return b.Remove(ids[:1])
		}, "held out already"},
		"half a file": {Spec{Update: cut}, nil, ""},
		"no file":     {Spec{Update: "/nonexistent"}, nil, "No such file"},
		"two files":   {Spec{Update: lists, Trained: lists}, nil, "not with both"},
	} {
		t.Run(name, func(t *testing.T) {
			c.spec.Task, c.spec.Factory = task("style", testDim), cmp.Or(c.spec.Factory, "IVF16,Flat")
			b, err := Start(t.Context(), c.spec)
			if err == nil {
				defer b.Close()
				if c.do == nil {
					t.Fatal("it starts")
				}
				err = c.do(b)
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want something about %q", err, c.says)
			}
		})
	}
}

func TestUpdatable(t *testing.T) {
	for f, want := range map[string]bool{
		"IVF64,Flat": true, "IVF64,SQ8": true, "IVF64,SQfp16": true, "IVF64,PQ16": true, "OPQ16_64,IVF64,PQ16np": true,
		"IVF65536_HNSW32,Flat": true, "PCAR16,IVF16,SQ4": true, "Flat": false, "HNSW32": false, "IVF64,PQ16x4fs": false, "IVF64,PQ8+16": false,
		"SQ8": false, "IVF64,FlatDedup": false, "Florp": false, "": false,
	} {
		if got := Updatable(f); got != want {
			t.Errorf("Updatable(%q) is %v", f, got)
		}
	}
}

// Lists that are equally long have the factor 1; all vectors in one of n lists give n.
func TestImbalance(t *testing.T) {
	ids, vectors := gallery(2000, testDim)
	trained, _ := shards(t, "IVF16,Flat", 0)
	spec := Spec{Task: task("style", testDim), Factory: "IVF16,Flat", Trained: trained}
	_, even := recipe{spec: spec, batch: 500}.build(t, tempFile(t, "even"), ids, vectors)
	same := make([]float32, 0, 200*testDim)
	for range 200 {
		same = append(same, vectors[:testDim]...)
	}
	_, skewed := recipe{spec: spec, batch: 500}.build(t, tempFile(t, "skewed"), ids[:200], same)
	_, flat := recipe{spec: Spec{Task: spec.Task, Factory: "Flat"}, batch: 500}.build(t, tempFile(t, "flat"), ids, vectors)
	if even.Imbalance < 1 || even.Imbalance > 3 || skewed.Imbalance != 16 || flat.Imbalance != 0 {
		t.Errorf("imbalance of clusters %v, of one vector %v, of no lists %v", even.Imbalance, skewed.Imbalance, flat.Imbalance)
	}
}
