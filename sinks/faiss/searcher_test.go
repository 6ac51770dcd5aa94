package faiss

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

func TestSearchEdges(t *testing.T) {
	for _, f := range []string{"Flat", "HNSW32"} {
		for _, n := range []int{0, 3} {
			ids, vectors := gallery(n, testDim)
			path := tempFile(t, "knn.index")
			recipe{spec: Spec{Task: task("style", testDim), Factory: f}}.build(t, path, ids, vectors)
			s, err := OpenIndex(t.Context(), path, task("style", testDim), 1)
			must(t, err)
			hits, err := s.Search(make([]float32, 2*testDim), 10)
			must(t, err)
			if len(hits) != 2 || len(hits[0]) != n || len(hits[1]) != n {
				t.Errorf("%s of %d vectors: %v", f, n, hits)
			}
			if hits, err := s.Search(nil, 10); err != nil || len(hits) != 0 {
				t.Errorf("no queries give %v, %v", hits, err)
			}
			if _, err := s.Search(make([]float32, testDim+1), 10); err == nil {
				t.Error("a query of another length is taken")
			}
			if _, err := s.Search(make([]float32, testDim), 0); err == nil {
				t.Error("k = 0 is taken")
			}
			must(t, s.Close())
		}
	}
}

// TestMissingNeighbours searches one list of few vectors for more than it holds.
func TestMissingNeighbours(t *testing.T) {
	ids, vectors := gallery(2000, testDim)
	path := tempFile(t, "knn.index")
	recipe{spec: Spec{Task: task("style", testDim), Factory: "IVF64,Flat"}, batch: 500}.build(t, path, ids, vectors)
	s, err := OpenIndex(t.Context(), path, task("style", testDim), 1)
	must(t, err)
	defer s.Close()
	must(t, s.Tune("nprobe=1"))
	hits, err := s.Search(vectors[:testDim], 1000)
	must(t, err)
	if n := len(hits[0]); n == 0 || n == 1000 {
		t.Errorf("%d hits from one list", n)
	}
	for _, h := range hits[0] {
		if h.ID < 0 {
			t.Fatalf("a missing neighbour is handed out: %+v", h)
		}
	}
}

func TestOpenRefusesOtherTasks(t *testing.T) {
	ids, vectors := gallery(10, testDim)
	path := tempFile(t, "knn.index")
	recipe{spec: Spec{Task: task("style", testDim), Factory: "Flat"}}.build(t, path, ids, vectors)
	other, l2 := task("style", testDim+1), task("style", testDim)
	l2.Metric = pipeline.L2
	for want, wrong := range map[string]pipeline.Task{"33": other, `"l2"`: l2} {
		if _, err := OpenIndex(t.Context(), path, wrong, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something about %s", err, want)
		}
	}
}

// TestDamagedFiles cuts index files short and overwrites some of their bytes. Opening and searching
// them may fail or not, but not hang, not take the memory of a sound gallery, and not end this
// process.
func TestDamagedFiles(t *testing.T) {
	ids, vectors := gallery(2000, testDim)
	r := rand.New(rand.NewPCG(15, 16))
	for _, f := range []string{"Flat", "HNSW32", "IVF32,SQ8", "PCA16,IVF32,PQ4x4"} {
		path := tempFile(t, "knn.index")
		recipe{spec: Spec{Task: task("style", testDim), Factory: f}, batch: 500}.build(t, path, ids, vectors)
		whole, err := os.ReadFile(path)
		must(t, err)
		for _, n := range []int{0, 3, 20, 100, len(whole) / 2, len(whole) - 1} {
			must(t, os.WriteFile(path, whole[:n], 0o600))
			if s, err := OpenIndex(t.Context(), path, task("style", testDim), 1); err == nil {
				s.Close()
				t.Errorf("%s: the first %d of %d bytes open", f, n, len(whole))
			}
		}
		for i := range 12 {
			b := append([]byte(nil), whole...)
			for range 4 {
				b[r.IntN(min(len(b), 400<<(i%4*3)))] = byte(r.Uint32())
			}
			must(t, os.WriteFile(path, b, 0o600))
			s, err := OpenIndex(t.Context(), path, task("style", testDim), 1)
			if err != nil {
				continue
			}
			_, _ = s.Search(vectors[:testDim], 10)
			_, _ = s.IDSet()
			s.Close()
		}
	}
}
