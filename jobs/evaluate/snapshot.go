package evaluate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
)

// snapshot is a published gallery: a source of embeddings, and a listing.
type snapshot struct{ *sinks.Snapshot }

// openSnapshot opens what CURRENT points to.
func openSnapshot(ctx context.Context, output string) (snapshot, error) {
	objects, err := store.Open(ctx, output)
	if err != nil {
		return snapshot{}, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	s, err := sinks.OpenCurrent(ctx, objects)
	return snapshot{s}, err
}

func (s snapshot) tasks() (tasks []pipeline.Task) {
	for _, t := range s.Tasks {
		tasks = append(tasks, t.Task)
	}
	return tasks
}

// errStop ends a reading that nobody wants more of.
var errStop = errors.New("stop")

// List implements store.Lister, in the order of the items.
func (s snapshot) List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error] {
	return func(yield func(pipeline.Ref, error) bool) {
		for _, f := range s.Select(sinks.Items, "") {
			err := s.EachItem(ctx, f, func(r sinks.Row) error {
				if strings.HasPrefix(r.Key, prefix) && !yield(pipeline.Ref{Key: r.Key, ETag: r.ETag, Size: r.Bytes}, nil) {
					return errStop
				}
				return nil
			})
			if err != nil {
				if !errors.Is(err, errStop) {
					yield(pipeline.Ref{}, err)
				}
				return
			}
		}
	}
}

// vectors reads the embeddings of the wanted keys, each with its row. A key that the snapshot does not
// hold is left without an embedding.
func (s snapshot) vectors(ctx context.Context, tasks []pipeline.Task, wanted map[string]int, rows int) (*Vectors, error) {
	v := newVectors(tasks, rows)
	byID := map[int64]int{}
	for _, f := range s.Select(sinks.Items, "") {
		err := s.EachItem(ctx, f, func(r sinks.Row) error {
			if row, ok := wanted[r.Key]; ok {
				byID[r.ID] = row
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for t, task := range tasks {
		for _, f := range s.Select(sinks.Embedding, task.Name) {
			err := s.EachVectors(ctx, f, task.Dim, func(b sinks.Vectors) error {
				for i, id := range b.IDs {
					if row, ok := byID[id]; ok {
						v.set(t, row, b.Data[i*task.Dim:(i+1)*task.Dim])
						v.Have[row] = true
					}
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
