// Package search is the job `facet search`: the neighbours of one image in the current snapshot. It
// is for people and for tests; a service loads the snapshot once and keeps it.
package search

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
)

// Query is what to search for: an image file, or an image of the gallery by its key.
type Query struct {
	Output string
	Task   string
	Image  string
	Key    string
	K      int
}

// Hit is a neighbour.
type Hit struct {
	Key string `json:"key"`
	ID  int64  `json:"image_id"`
	// Score is the cosine similarity, larger is nearer; for a task of metric l2 the squared distance,
	// smaller is nearer.
	Score float32 `json:"score"`
}

// ErrNoKey means that the snapshot holds no image of that key.
var ErrNoKey = errors.New("no such key in the snapshot")

func (q Query) check() error {
	switch {
	case q.Output == "" || q.Task == "":
		return fmt.Errorf("%w: search wants --output and --task", jobfile.ErrConfig)
	case (q.Image == "") == (q.Key == ""):
		return fmt.Errorf("%w: search wants either --image or --key", jobfile.ErrConfig)
	case q.K < 1 || q.K > 10000:
		return fmt.Errorf("%w: -k is %d, want 1 to 10000", jobfile.ErrConfig, q.K)
	}
	return nil
}

// Run answers a query, nearest first. An image of the gallery is not its own neighbour.
func Run(ctx context.Context, q Query) ([]Hit, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	objects, err := store.Open(ctx, q.Output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	snapshot, err := sinks.OpenCurrent(ctx, objects)
	if err != nil {
		return nil, err
	}
	task, err := snapshot.Task(q.Task)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", jobfile.ErrConfig, err)
	}
	s := searcher{snapshot: snapshot, task: task.Task}
	vector, self, err := s.vector(ctx, q)
	if err != nil {
		return nil, err
	}
	return s.search(ctx, vector, self, q.K)
}

type searcher struct {
	snapshot *sinks.Snapshot
	task     pipeline.Task
}

// vector is the query's embedding, and its id where it is an image of the gallery; else -1.
func (s searcher) vector(ctx context.Context, q Query) ([]float32, int64, error) {
	if q.Image != "" {
		v, err := s.embed(ctx, q.Image)
		return v, -1, err
	}
	return s.lookUp(ctx, q.Key)
}

var errFound = errors.New("found")

// lookUp reads the one shard that can hold the key.
func (s searcher) lookUp(ctx context.Context, key string) ([]float32, int64, error) {
	shard := stages.ShardOf(key, s.snapshot.Shards.Count)
	id := int64(-1)
	for _, f := range inShard(s.snapshot.Select(sinks.Items, ""), shard) {
		err := s.snapshot.EachItem(ctx, f, func(r sinks.Row) error {
			if r.Key == key {
				id = r.ID
				return errFound
			}
			return nil
		})
		if err != nil && !errors.Is(err, errFound) {
			return nil, -1, err
		}
	}
	if id < 0 {
		return nil, -1, fmt.Errorf("%w: %q", ErrNoKey, key)
	}
	var vector []float32
	d := s.task.Dim
	for _, f := range inShard(s.snapshot.Select(sinks.Embedding, s.task.Name), shard) {
		err := s.snapshot.EachVectors(ctx, f, d, func(v sinks.Vectors) error {
			for i := range v.IDs {
				if v.IDs[i] == id {
					vector = append(vector, v.Data[i*d:(i+1)*d]...)
				}
			}
			return nil
		})
		if err != nil {
			return nil, -1, err
		}
	}
	if len(vector) != d {
		return nil, -1, fmt.Errorf("%w: image %d has no embedding for task %q; run `facet verify`", sinks.ErrDamaged, id, s.task.Name)
	}
	return vector, id, nil
}

func inShard(files []sinks.File, shard int) []sinks.File {
	var in []sinks.File
	for _, f := range files {
		if f.Shard == shard {
			in = append(in, f)
		}
	}
	return in
}

func (s searcher) search(ctx context.Context, vector []float32, self int64, k int) ([]Hit, error) {
	dir, err := os.MkdirTemp("", "facet-search-")
	if err != nil {
		return nil, fmt.Errorf("scratch folder: %w", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "knn.index")
	for _, f := range s.snapshot.Select(sinks.Index, s.task.Name) {
		if err := s.snapshot.Download(ctx, f, path); err != nil {
			return nil, err
		}
	}
	ix, err := faiss.OpenIndex(ctx, path, s.task, 1)
	if err != nil {
		return nil, err
	}
	defer ix.Close()
	found, err := ix.Search(vector, k+1) // one more than wanted, in case the query finds itself
	if err != nil {
		return nil, err
	}
	var hits []Hit
	for _, h := range found[0] {
		if h.ID != self && len(hits) < k {
			hits = append(hits, Hit{ID: h.ID, Score: h.Distance})
		}
	}
	return hits, s.name(ctx, hits)
}

// name fills in the keys, reading each shard that occurs once.
func (s searcher) name(ctx context.Context, hits []Hit) error {
	byShard := map[int]map[int64]*Hit{}
	for i := range hits {
		shard := int(hits[i].ID >> pipeline.ShardShift)
		if byShard[shard] == nil {
			byShard[shard] = map[int64]*Hit{}
		}
		byShard[shard][hits[i].ID] = &hits[i]
	}
	for _, f := range s.snapshot.Select(sinks.Items, "") {
		wanted := byShard[f.Shard]
		if wanted == nil {
			continue
		}
		err := s.snapshot.EachItem(ctx, f, func(r sinks.Row) error {
			if h := wanted[r.ID]; h != nil {
				h.Key = r.Key
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
