package sinks

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
)

const indexDim = 16

// watched is a store that notes what is read and written.
type watched struct {
	store.Store
	read, written []string
}

func (w *watched) Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	w.read = append(w.read, key)
	return w.Store.Open(ctx, key)
}

func (w *watched) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, c store.Condition) (pipeline.Ref, error) {
	w.written = append(w.written, key)
	return w.Store.Put(ctx, key, body, size, c)
}

// nights makes one index a night from vectors that a test changes in between.
type nights struct {
	t       *testing.T
	r       *rand.Rand
	objects *watched
	builder IndexBuilder
	job     IndexJob
	shards  [4]map[int64][]float32
	centres [][]float32
	made    int
}

// newNights holds n clustered vectors in four shards; all nights but the first have a parent.
func newNights(t *testing.T, factory string, n int) *nights {
	mem, err := store.OpenMem(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	ns := &nights{t: t, r: rand.New(rand.NewPCG(31, 32)), objects: &watched{Store: mem}}
	ns.builder = IndexBuilder{
		Objects: ns.objects, Dir: t.TempDir(), Queries: 100, Target: 0.9, Threads: 1, Retrain: Retrain{Changed: 0.3, Imbalance: 1.5},
	}
	ns.job = IndexJob{
		Task:   pipeline.Task{Name: "shape", Output: "shape", Dim: indexDim, Metric: pipeline.L2},
		Digest: "d1", Factory: factory,
	}
	for range 12 {
		ns.centres = append(ns.centres, ns.normal(nil, 1))
	}
	for i := range ns.shards {
		ns.shards[i] = map[int64][]float32{}
	}
	for i := range n {
		ns.add(i%4, ns.vector())
	}
	return ns
}

func (ns *nights) normal(centre []float32, spread float64) []float32 {
	v := make([]float32, indexDim)
	for i := range v {
		v[i] = float32(spread * ns.r.NormFloat64())
		if centre != nil {
			v[i] += centre[i]
		}
	}
	return v
}

func (ns *nights) vector() []float32 { return ns.normal(ns.centres[ns.r.IntN(len(ns.centres))], 0.3) }

func (ns *nights) add(shard int, v []float32) {
	ns.made++
	ns.shards[shard][int64(shard)<<pipeline.ShardShift|int64(ns.made)] = v
}

// change lets k vectors of a shard leave, replaces k and adds k.
func (ns *nights) change(shard, k int) {
	ids := slices.Sorted(maps.Keys(ns.shards[shard]))
	for i, at := range ns.r.Perm(len(ids))[:2*k] {
		if i < k {
			delete(ns.shards[shard], ids[at])
			continue
		}
		ns.shards[shard][ids[at]] = ns.vector()
	}
	for range k {
		ns.add(shard, ns.vector())
	}
}

// store writes tonight's vectors.
func (ns *nights) store() {
	ns.t.Helper()
	ns.job.Files = nil
	for shard, vectors := range ns.shards {
		t, err := newTable(ns.builder.Dir, embeddingsSchema(ns.job.Task), memory.DefaultAllocator, Embedding)
		if err != nil {
			ns.t.Fatal(err)
		}
		for _, id := range slices.Sorted(maps.Keys(vectors)) {
			if err := t.appendVector(id, vectors[id]); err != nil {
				ns.t.Fatal(err)
			}
		}
		sealed, err := t.seal(func(_ Kind, digest string) File {
			return File{Path: contentName("embeddings/shape", shard, digest, ".parquet"), Task: "shape", Shard: shard}
		})
		if err != nil {
			ns.t.Fatal(err)
		}
		if err := storeFile(ns.t.Context(), ns.objects, sealed[0]); err != nil {
			ns.t.Fatal(err)
		}
		removeAll(sealed)
		ns.job.Files = append(ns.job.Files, sealed[0].File)
	}
}

// make makes tonight's index; adopt makes its snapshot the parent of the next.
func (ns *nights) make() *BuiltIndex {
	ns.t.Helper()
	ns.store()
	ns.objects.read, ns.objects.written = nil, nil
	made, err := ns.builder.Process(ns.t.Context(), ns.job)
	if err != nil {
		ns.t.Fatal(err)
	}
	if left, _ := os.ReadDir(ns.builder.Dir); len(left) > 0 {
		ns.t.Errorf("%s is left behind", left[0].Name())
	}
	return made
}

func (ns *nights) adopt(name string, made *BuiltIndex) TaskIndex {
	m := &Manifest{Snapshot: name, Tasks: []TaskState{{Task: ns.job.Task, Digest: ns.job.Digest}}, Files: ns.job.Files}
	m.Ledger.Tasks = map[string]TaskLedger{}
	if err := (Indexed{m}).Write(ns.t.Context(), made); err != nil {
		ns.t.Fatal(err)
	}
	ns.builder.Parent = &Snapshot{Manifest: m, objects: ns.objects}
	return m.Tasks[0].Index
}

// check reads the index back: it holds tonight's ids, and finds vectors by themselves.
func (ns *nights) check(made *BuiltIndex) {
	ns.t.Helper()
	local := filepath.Join(ns.t.TempDir(), "knn.index")
	s := &Snapshot{objects: ns.objects}
	if infos, err := s.ReadFile(ns.t.Context(), made.Files[1]); err != nil || !json.Valid(infos) {
		ns.t.Errorf("index_infos.json is %q (%v)", infos, err)
	}
	if err := s.Download(ns.t.Context(), made.Files[0], local); err != nil {
		ns.t.Fatal(err)
	}
	ix, err := faiss.OpenIndex(ns.t.Context(), local, ns.job.Task, 1)
	if err != nil {
		ns.t.Fatal(err)
	}
	defer ix.Close()
	var want faiss.IDSet
	for _, shard := range ns.shards {
		for id := range shard {
			want.Add(id)
		}
	}
	if got, err := ix.IDSet(); err != nil || got != want || made.Index.NTotal != want.N {
		ns.t.Errorf("the index holds %v (%v), it says %d, want %v", got, err, made.Index.NTotal, want)
	}
	for id, v := range ns.shards[1] {
		hits, err := ix.Search(v, 10)
		if err != nil {
			ns.t.Fatal(err)
		}
		if !slices.ContainsFunc(hits[0], func(h faiss.Hit) bool { return h.ID == id }) {
			ns.t.Errorf("vector %d does not find itself", id)
		}
		break
	}
}

// damage cuts an object of the parent's short.
func (ns *nights) damage(path string) {
	data, _, err := readSmall(ns.t.Context(), ns.objects, path)
	if err == nil {
		_, err = put(ns.t.Context(), ns.objects, path, data[:len(data)/2], store.Condition{})
	}
	if err != nil {
		ns.t.Fatal(err)
	}
}

func (ns *nights) parentFile(k Kind, i int) *File {
	n := 0
	for j := range ns.builder.Parent.Files {
		if f := &ns.builder.Parent.Files[j]; f.Kind == k {
			if n == i {
				return f
			}
			n++
		}
	}
	ns.t.Fatalf("no %s %d", k, i)
	return nil
}
