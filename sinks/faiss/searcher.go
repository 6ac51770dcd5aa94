package faiss

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/facet-search/facet/pipeline"
)

// idChunk ids travel at a time.
const idChunk = 1 << 16

// Searcher answers from one index file, in a child process that holds it in memory. One goroutine
// uses it at a time.
type Searcher struct {
	p     *process
	stats Stats
}

// Hit is one neighbour of a query.
type Hit struct {
	ID int64
	// Distance is the inner product for cosine, where larger is nearer, and the squared Euclidean
	// distance for l2.
	Distance float32
}

// OpenIndex starts a child that reads the index file of a task, and refuses one whose dimension or
// metric is not the task's. A file that is corrupt is an error even if it crashes FAISS.
func OpenIndex(ctx context.Context, path string, task pipeline.Task, threads int) (*Searcher, error) {
	p, err := start(ctx, task.Name, threads)
	if err != nil {
		return nil, err
	}
	rep, err := p.call(request{Op: opOpen, Path: path}, nil, nil)
	if err == nil {
		err = expect(task, *rep.Stats)
	}
	if err != nil {
		_ = p.close()
		return nil, fmt.Errorf("index file %s: %w", path, err)
	}
	return &Searcher{p: p, stats: *rep.Stats}, nil
}

// expect compares an index with what a task says.
func expect(task pipeline.Task, got Stats) error {
	if got.Dim != task.Dim {
		return fmt.Errorf("the index holds vectors of %d numbers, task %q has %d", got.Dim, task.Name, task.Dim)
	}
	if got.Metric != task.Metric {
		return fmt.Errorf("the index compares by %q, task %q by %q", got.Metric, task.Name, task.Metric)
	}
	return nil
}

// Stats is what the index says about itself.
func (s *Searcher) Stats() Stats { return s.stats }

// Tune sets search parameters, as "nprobe=32,efSearch=64". Until then those in the file hold.
func (s *Searcher) Tune(params string) error {
	_, err := s.p.call(request{Op: opTune, Params: params}, nil, nil)
	return err
}

// Search finds the k nearest of each query [n, Dim], nearest first. There are fewer than k where the
// index holds fewer, or did not find them.
func (s *Searcher) Search(queries []float32, k int) ([][]Hit, error) {
	d := s.stats.Dim
	if len(queries)%d != 0 || k < 1 {
		return nil, s.p.wrap(opSearch, fmt.Errorf("%d numbers are not queries of %d, or k is %d", len(queries), d, k))
	}
	n := len(queries) / d
	var ids []int64
	var distances []float32
	rep, err := s.p.call(request{Op: opSearch, N: n, K: k}, [][]byte{raw(queries)}, func(rep reply) [][]byte {
		ids, distances = make([]int64, n*rep.N), make([]float32, n*rep.N)
		return [][]byte{raw(ids), raw(distances)}
	})
	if err != nil {
		return nil, err
	}
	hits := make([][]Hit, n)
	for i := range ids {
		if q := i / rep.N; ids[i] >= 0 {
			hits[q] = append(hits[q], Hit{ID: ids[i], Distance: distances[i]})
		}
	}
	return hits, nil
}

// IDs yields the ids of all vectors in the index's own order, in chunks that are the caller's to
// keep. After an error it yields nothing more.
func (s *Searcher) IDs() iter.Seq2[[]int64, error] {
	return func(yield func([]int64, error) bool) {
		var chunk [idChunk]int64
		for from := int64(0); ; {
			rep, err := s.p.call(request{Op: opIDs, From: from, N: idChunk}, nil, func(rep reply) [][]byte {
				return [][]byte{raw(chunk[:rep.N])}
			})
			if err != nil {
				yield(nil, err)
				return
			}
			if rep.N == 0 || !yield(slices.Clone(chunk[:rep.N]), nil) {
				return
			}
			from += int64(rep.N)
		}
	}
}

// IDSet is the digest of all ids in the index.
func (s *Searcher) IDSet() (IDSet, error) {
	var set IDSet
	for ids, err := range s.IDs() {
		if err != nil {
			return IDSet{}, err
		}
		set.Add(ids...)
	}
	return set, nil
}

// Close ends the child.
func (s *Searcher) Close() error { return s.p.close() }
