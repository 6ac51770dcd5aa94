package index

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
)

// shop is a folder of photos that changes overnight, and a pool of photos that are not in it.
type shop struct {
	t    *testing.T
	dir  string
	pool [][]byte
}

func newShop(t *testing.T, n, pool int) *shop {
	t.Helper()
	s := &shop{t: t, dir: testenv.Fashion(t, n+pool)}
	for _, name := range s.names()[n:] {
		s.pool = append(s.pool, s.read(name))
		s.remove(name)
	}
	return s
}

func (s *shop) names() (names []string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (s *shop) read(name string) []byte {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return data
}

func (s *shop) remove(name string) {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

// fresh takes a photo out of the pool.
func (s *shop) fresh() []byte {
	data := s.pool[0]
	s.pool = s.pool[1:]
	return data
}

// contents is what the folder holds, by name.
func (s *shop) contents() map[string][32]byte {
	m := map[string][32]byte{}
	for _, name := range s.names() {
		m[name] = sha256.Sum256(s.read(name))
	}
	return m
}

func firstImage(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.TrimRight(e.Name(), "0123456789.jpg") == "" {
			return e.Name()
		}
	}
	t.Fatal("no image")
	return ""
}

// rows are the items of a snapshot, by key.
func rows(t *testing.T, s *sinks.Snapshot) map[string]sinks.Row {
	t.Helper()
	m := map[string]sinks.Row{}
	for _, f := range s.Select(sinks.Items, "") {
		if err := s.EachItem(t.Context(), f, func(r sinks.Row) error { m[r.Key] = r; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// vectorsOf are a task's vectors in a snapshot, by image id.
func vectorsOf(t *testing.T, s *sinks.Snapshot, task pipeline.Task) map[int64][]float32 {
	t.Helper()
	m := map[int64][]float32{}
	for _, f := range s.Select(sinks.Embedding, task.Name) {
		err := s.EachVectors(t.Context(), f, task.Dim, func(v sinks.Vectors) error {
			for i, id := range v.IDs {
				m[id] = slices.Clone(v.Data[i*task.Dim : (i+1)*task.Dim])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func openIndex(t *testing.T, s *sinks.Snapshot, task sinks.TaskState) *faiss.Searcher {
	t.Helper()
	name := filepath.Join(t.TempDir(), "knn.index")
	if err := s.Download(t.Context(), s.Select(sinks.Index, task.Name)[0], name); err != nil {
		t.Fatal(err)
	}
	ix, err := faiss.OpenIndex(t.Context(), name, task.Task, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ix.Close() })
	if task.Index.Params != "" {
		if err := ix.Tune(task.Index.Params); err != nil {
			t.Fatal(err)
		}
	}
	return ix
}

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// reader holds a snapshot open and goes on answering from it, as a search service does.
type reader struct {
	stop    atomic.Bool
	done    chan struct{}
	answers atomic.Int64
}

// hold answers from a snapshot until release, and fails the test when an answer changes.
func hold(t *testing.T, s *sinks.Snapshot) *reader {
	t.Helper()
	r := &reader{done: make(chan struct{})}
	task := s.Tasks[0]
	ix, query := openIndex(t, s, task), vectorsOf(t, s, task.Task)
	var first [][]faiss.Hit
	id := slices.Sorted(maps.Keys(query))[0]
	go func() {
		defer close(r.done)
		for !r.stop.Load() {
			hits, err := ix.Search(query[id], 5)
			if first == nil {
				first = hits
			}
			if err != nil || fmt.Sprint(hits) != fmt.Sprint(first) {
				t.Errorf("while the next night runs, the answer changed from %v to %v: %v", first, hits, err)
				return
			}
			if f := s.Files[int(r.answers.Add(1))%len(s.Files)]; f.Kind == sinks.Items || f.Kind == sinks.Embedding {
				if _, err := s.ReadFile(t.Context(), f); err != nil {
					t.Errorf("while the next night runs: %v", err)
				}
			}
		}
	}()
	return r
}

func (r *reader) release(t *testing.T) {
	t.Helper()
	r.stop.Store(true)
	<-r.done
	if r.answers.Load() == 0 {
		t.Error("the reader has not answered once")
	}
}
