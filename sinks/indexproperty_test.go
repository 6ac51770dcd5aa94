package sinks

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/facet-search/facet/sinks/faiss"
)

// scramble lets up to 30 % of each shard's vectors leave, be replaced and come, each by a chance of
// its own that is often 0.
func (ns *nights) scramble() {
	share := func() float64 { return max(0, 0.45*ns.r.Float64()-0.15) }
	for shard := range ns.shards {
		leave, replace, come := share(), share(), share()
		before := len(ns.shards[shard])
		for _, id := range slices.Sorted(maps.Keys(ns.shards[shard])) {
			switch x := ns.r.Float64(); {
			case x < leave:
				delete(ns.shards[shard], id)
			case x < leave+replace:
				ns.shards[shard][id] = ns.vector()
			}
		}
		for range int(come * float64(before)) {
			ns.add(shard, ns.vector())
		}
	}
}

// TestIndexOverRandomNights lets galleries change at random. Whatever was done about it, the index
// holds tonight's ids, each once, and its recall is what an exhaustive search in plain Go says it is.
func TestIndexOverRandomNights(t *testing.T) {
	// OPQ takes many seconds to train; the soak test has the larger one, and more nights.
	for factory, nights := range map[string]int{"IVF64,Flat": 5, "IVF64,SQ8": 5, "OPQ2_8,IVF64,PQ4x4np": 2, "HNSW32": 3, "Flat": 3} {
		t.Run(factory, func(t *testing.T) { randomNights(t, factory, 33, nights) })
	}
}

func randomNights(t *testing.T, factory string, seed uint64, nights int) {
	ns := newNights(t, factory, 2600)
	ns.r = rand.New(rand.NewPCG(31, seed))
	ns.adopt("night 0", ns.make())
	count := map[string]int{}
	for night := range nights {
		before := ns.job.Files
		if night%3 != 2 {
			ns.scramble()
		}
		made := ns.make()
		count[made.Index.Origin.How]++
		if (made.Index.Origin.How == "kept") != samePaths(before, ns.job.Files) {
			t.Errorf("night %d: %+v", night, made.Index.Origin)
		}
		ns.check(made)
		if got := ns.recall(made, 150); math.Abs(got-made.Index.Recall) > 0.06 {
			t.Errorf("night %d: recall@10 is %v, the manifest says %v: %+v", night, got, made.Index.Recall, made.Index.Origin)
		}
		ns.adopt(fmt.Sprint("night ", night+1), made)
	}
	t.Log(count)
}

// recall is recall@10 of the index over some of its own vectors, which do not count as neighbours of
// themselves, against an exhaustive search.
func (ns *nights) recall(made *BuiltIndex, queries int) float64 {
	ns.t.Helper()
	local := filepath.Join(ns.t.TempDir(), "knn.index")
	if err := (&Snapshot{objects: ns.objects}).Download(ns.t.Context(), made.Files[0], local); err != nil {
		ns.t.Fatal(err)
	}
	ix, err := faiss.OpenIndex(ns.t.Context(), local, ns.job.Task, 1)
	if err != nil {
		ns.t.Fatal(err)
	}
	defer ix.Close()
	all := map[int64][]float32{}
	for _, shard := range ns.shards {
		maps.Copy(all, shard)
	}
	ids := slices.Sorted(maps.Keys(all))
	found := 0
	for _, at := range ns.r.Perm(len(ids))[:queries] {
		id := ids[at]
		hits, err := ix.Search(all[id], 11)
		if err != nil {
			ns.t.Fatal(err)
		}
		near := nearest(all, ids, id)
		n := 0
		for _, h := range hits[0] {
			if n < 10 && h.ID != id {
				n++
				if slices.Contains(near, h.ID) {
					found++
				}
			}
		}
	}
	return float64(found) / float64(10*queries)
}

// nearest are the ten nearest to the vector of an id, itself not among them.
func nearest(all map[int64][]float32, ids []int64, id int64) []int64 {
	distance := make(map[int64]float64, len(ids))
	for _, other := range ids {
		sum, v := 0.0, all[id]
		for i, x := range all[other] {
			d := float64(x - v[i])
			sum += d * d
		}
		distance[other] = sum
	}
	ranked := slices.DeleteFunc(slices.Clone(ids), func(x int64) bool { return x == id })
	slices.SortFunc(ranked, func(a, b int64) int { return cmp.Or(cmp.Compare(distance[a], distance[b]), cmp.Compare(a, b)) })
	return ranked[:10]
}
