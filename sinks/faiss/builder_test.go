package faiss

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

const testDim = 32

func TestBuildAndSearch(t *testing.T) {
	ids, vectors := gallery(4000, testDim)
	l2 := task("shape", testDim)
	l2.Metric, l2.Normalized = pipeline.L2, false
	cases := []struct {
		factory string
		task    pipeline.Task
		kind    string
		recall  float64 // at least
	}{
		{"Flat", task("style", testDim), "IndexIDMap2(IndexFlat)", 1},
		{"Flat", l2, "IndexIDMap2(IndexFlat)", 1},
		{"HNSW32", task("style", testDim), "IndexIDMap2(IndexHNSWFlat)", 0.95},
		{"SQ8", l2, "IndexIDMap2(IndexScalarQuantizer)", 0.9},
		{"PQ16", l2, "IndexIDMap2(IndexPQ)", 0.3},
		{"IVF64,Flat", task("style", testDim), "IndexIVFFlat(IndexFlat)", 0.95},
		{"IVF64,SQ8", l2, "IndexIVFScalarQuantizer(IndexFlat)", 0.9},
		{"IVF64,PQ16", task("style", testDim), "IndexIVFPQ(IndexFlat)", 0.5},
		{"OPQ2_8,IVF64_HNSW32,PQ2", l2, "IndexPreTransform(IndexIVFPQ(IndexHNSWFlat))", 0.1},
	}
	for _, c := range cases {
		t.Run(c.factory+"/"+string(c.task.Metric), func(t *testing.T) {
			path := tempFile(t, "knn.index")
			r := recipe{spec: Spec{Task: c.task, Factory: c.factory}, hold: 200, batch: 512}
			report, stats := r.build(t, path, ids, vectors)
			if stats.Total != 4000 || stats.Dim != testDim || stats.Metric != c.task.Metric || stats.Type != c.kind {
				t.Errorf("the index is %+v", stats)
			}
			if report.Queries < 150 || report.Vectors != int64(4000-report.Queries) {
				t.Errorf("measured with %d queries against %d vectors", report.Queries, report.Vectors)
			}
			if report.Recall10 == nil || *report.Recall10 < c.recall {
				t.Errorf("recall@10 is %v, want at least %v", deref(report.Recall10), c.recall)
			}
			t.Logf("recall@10 %.3f, %q, 1-recall@40 %.3f, %.3f ms", deref(report.Recall10), report.Params,
				deref(report.OneRecall40), deref(report.AverageMillis))
			checkSearcher(t, path, c.task, ids, vectors, c.recall == 1)
		})
	}
}

func checkSearcher(t *testing.T, path string, task pipeline.Task, ids []int64, vectors []float32, exact bool) {
	s, err := OpenIndex(t.Context(), path, task, 1)
	must(t, err)
	defer func() { must(t, s.Close()) }()
	got, err := s.IDSet()
	must(t, err)
	var want IDSet
	want.Add(ids...)
	if got != want {
		t.Errorf("the index's ids are %v, want %v", got, want)
	}
	hits, err := s.Search(vectors[:3*testDim], 5)
	must(t, err)
	if len(hits) != 3 || len(hits[0]) != 5 {
		t.Fatalf("%d answers, the first of %d hits, want 3 of 5", len(hits), len(hits[0]))
	}
	if exact {
		for i := range hits {
			if hits[i][0].ID != ids[i] {
				t.Errorf("the nearest to vector %d is %+v, want itself", i, hits[i][0])
			}
		}
	}
}

func deref(v *float64) float64 {
	if v == nil {
		return -1
	}
	return *v
}

// TestSameBytes builds each index with other batches of the same vectors, and once more.
func TestSameBytes(t *testing.T) {
	all, allVectors := gallery(20000, testDim) // more than one block
	for f, n := range map[string]int{
		"Flat": 20000, "HNSW32": 20000, "IVF64,Flat": 20000, "IVF64,SQ8": 20000,
		"IVF64,PQ16": 3000, "OPQ2_8,IVF16,PQ2": 1000, // slow to train
	} {
		t.Run(f, func(t *testing.T) {
			t.Parallel()
			ids, vectors := all[:n], allVectors[:n*testDim]
			first := ""
			for _, batch := range []int{n, 999} {
				path := tempFile(t, "knn.index")
				recipe{spec: Spec{Task: task("style", testDim), Factory: f}, hold: 100, batch: batch}.build(t, path, ids, vectors)
				d := digest(t, path)
				if first == "" {
					first = d
				}
				if d != first {
					t.Errorf("batches of %d give other bytes", batch)
				}
			}
		})
	}
}

// TestSameBytesWithThreads shows which indexes may be built with two threads.
func TestSameBytesWithThreads(t *testing.T) {
	ids, vectors := gallery(3000, testDim)
	for _, f := range []string{"IVF64,Flat", "IVF64,SQ8", "IVF64,PQ16", "OPQ2_8,IVF16,PQ2"} {
		var digests []string
		for _, threads := range []int{1, 2} {
			path := tempFile(t, "knn.index")
			spec := Spec{Task: task("style", testDim), Factory: f, Threads: threads}
			recipe{spec: spec, hold: 100, batch: 5000}.build(t, path, ids, vectors)
			digests = append(digests, digest(t, path))
		}
		if digests[0] != digests[1] {
			t.Errorf("%s: two threads give other bytes than one", f)
		}
	}
}

func digest(t testing.TB, path string) string {
	b, err := os.ReadFile(path)
	must(t, err)
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// TestRecallIsRaised wants more recall than the first search parameters give.
func TestRecallIsRaised(t *testing.T) {
	ids, vectors := gallery(6000, testDim)
	r := rand.New(rand.NewPCG(13, 14))
	for i := range vectors { // no clusters for the lists to follow
		vectors[i] = float32(r.NormFloat64())
	}
	path := tempFile(t, "knn.index")
	shape := task("shape", testDim)
	shape.Metric = pipeline.L2
	spec := Spec{Task: shape, Factory: "IVF128,Flat"}
	report, _ := recipe{spec: spec, hold: 300, batch: 1000}.build(t, path, ids, vectors)
	if report.Params == "nprobe=8" || *report.Recall10 < DefaultRecall {
		t.Errorf("recall@10 is %v with %q", deref(report.Recall10), report.Params)
	}
}

func TestSmallGalleries(t *testing.T) {
	for _, n := range []int{0, 1, 3, 12, 50} {
		ids, vectors := gallery(n, testDim)
		for _, f := range []string{"Flat", "HNSW32"} {
			path := tempFile(t, "knn.index")
			report, stats := recipe{spec: Spec{Task: task("style", testDim), Factory: f}, hold: 5, batch: 7}.build(t, path, ids, vectors)
			if stats.Total != int64(n) {
				t.Errorf("%s of %d vectors holds %d", f, n, stats.Total)
			}
			if (report.Queries > 0) != (report.Recall10 != nil) {
				t.Errorf("%s of %d vectors: %d queries, recall %v", f, n, report.Queries, report.Recall10)
			}
		}
	}
}

func TestBuilderRefuses(t *testing.T) {
	ids, vectors := gallery(100, testDim)
	cases := map[string]struct {
		factory string
		do      func(b *Builder) error
		says    string
	}{
		"too few numbers": {"IDMap2,Flat", func(b *Builder) error { return b.Add(ids[:2], vectors[:testDim]) }, "add of task \"style\""},
		"no training":     {"IVF2,Flat", func(b *Builder) error { return b.Add(ids, vectors) }, "not trained"},
		"empty sample":    {"IVF2,Flat", func(b *Builder) error { return b.Train() }, "no vectors to train on"},
		"few to train on": {"IVF64,Flat", func(b *Builder) error {
			if err := b.Sample(vectors[:10*testDim]); err != nil {
				return err
			}
			return b.Train()
		}, "training points"},
		"late queries": {"IDMap2,Flat", func(b *Builder) error {
			if err := b.Add(ids, vectors); err != nil {
				return err
			}
			return b.HoldOut(ids, vectors)
		}, "added already"},
		"early write": {"IDMap2,Flat", func(b *Builder) error {
			if err := b.Add(ids, vectors); err != nil {
				return err
			}
			_, _, err := b.Write(tempFile(t, "knn.index"))
			return err
		}, "waiting for finish"},
		"nowhere to write": {"IDMap2,Flat", func(b *Builder) error {
			_, _, err := b.Write("/nonexistent/knn.index")
			return err
		}, "No such file"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b, err := Start(t.Context(), Spec{Task: task("style", testDim), Factory: c.factory})
			must(t, err)
			defer b.Close()
			if err := c.do(b); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want something about %q", err, c.says)
			}
		})
	}
}

func TestStartRefuses(t *testing.T) {
	ok := task("style", 32)
	noDim, badMetric := ok, ok
	noDim.Dim, badMetric.Metric = 0, "hamming"
	for _, s := range []Spec{
		{Task: noDim, Factory: "Flat"}, {Task: badMetric, Factory: "Flat"}, {Task: ok, Factory: "Flat", Threads: -1},
		{Task: ok, Factory: "Flat", Recall: 1.5}, {Task: ok, Factory: ""}, {Task: ok, Factory: "Flat", Trained: "/nonexistent"},
		{Task: ok, Factory: "IVF4,PQ5np"}, {Task: ok, Factory: "HNSW32_PQ16np"}, {Task: ok, Factory: "Florp"},
	} {
		b, err := Start(t.Context(), s)
		if err == nil {
			b.Close()
			t.Errorf("Start takes %+v", s)
		}
	}
}

func TestCheck(t *testing.T) {
	for f, good := range map[string]bool{
		"HNSW32": true, "IVF1024,SQ8": true, "OPQ16_64,IVF4096_HNSW32,PQ16": true, "SQ4": true, "PCA16,IVF32,Flat": true,
		"IVF1024,SQ9": false, "HNSW32,PQ16": false, "PQ5": false, "Flt": false,
	} {
		resolved, err := Resolve(f)
		if err == nil {
			err = Check(t.Context(), resolved, task("style", 64))
		}
		if (err == nil) != good {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestMemoryCap(t *testing.T) {
	ids, vectors := gallery(1000, 256)
	b, err := Start(t.Context(), Spec{Task: task("style", 256), Factory: "IDMap2,Flat", Memory: 64 << 20})
	must(t, err)
	defer b.Close()
	for range 200 { // 200 MB
		if err = b.Add(ids, vectors); err != nil {
			break
		}
	}
	// Whoever asks for memory first says so: FAISS, the Go runtime or the race detector.
	if err == nil || !strings.Contains(err.Error(), "memory") && !strings.Contains(err.Error(), "allocate") {
		t.Errorf("got %v, want something about memory", err)
	}
}

func TestInfos(t *testing.T) {
	recall := 0.97
	spec := Spec{Task: task("style", 128), Factory: "IDMap2,HNSW32"}
	infos := NewInfos(spec, "knn.index", Report{Params: "efSearch=32", Queries: 500, Vectors: 9500, Recall10: &recall},
		Stats{Total: 10000, Dim: 128, Metric: pipeline.Cosine, Type: "IndexIDMap2(IndexHNSWFlat)"}, 8000000)
	var b bytes.Buffer
	must(t, infos.Encode(&b))
	want := `{
  "index_key": "IDMap2,HNSW32",
  "index_param": "efSearch=32",
  "index_path": "knn.index",
  "size in bytes": 8000000,
  "nb vectors": 10000,
  "vectors dimension": 128,
  "compression ratio": 0.64,
  "recall@10": 0.97,
  "held-out queries": 500,
  "nb vectors searched": 9500,
  "metric": "cosine",
  "index type": "IndexIDMap2(IndexHNSWFlat)",
  "task": "style"
}
`
	if b.String() != want {
		t.Errorf("got %s\nwant %s", b.String(), want)
	}
}
