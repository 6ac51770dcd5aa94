package stages

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/engine"
	"github.com/facet-search/facet/stages/imaging"
)

// ErrModel means that the model's outputs are not what its metadata promise.
var ErrModel = errors.New("the model breaks its promise")

// normTolerance is how far the length of a vector may be from 1 where the model promises unit length.
const normTolerance = 1e-3

// Embed runs the network once a batch and takes all tasks' vectors out of that one run. Items with a
// Reject, and those that need nothing, are passed on without a vector.
type Embed struct {
	tasks   []pipeline.Task
	norm    *imaging.Normalizer
	pixels  *Buffers
	runners chan engine.Runner
	batch   int
}

// NewEmbed allocates one runner a worker. Pixels go back to the buffers that they came from.
func NewEmbed(e engine.Engine, tasks []pipeline.Task, pre pipeline.Preprocess, batch, workers int, pixels *Buffers) (*Embed, error) {
	s := &Embed{tasks: tasks, norm: imaging.NewNormalizer(pre), pixels: pixels, batch: batch, runners: make(chan engine.Runner, workers)}
	for range workers {
		r, err := e.NewRunner(batch)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.runners <- r
	}
	return s, nil
}

// Close frees the runners. No Process may be under way.
func (s *Embed) Close() error {
	var errs []error
	for {
		select {
		case r := <-s.runners:
			errs = append(errs, r.Close())
		default:
			return errors.Join(errs...)
		}
	}
}

// Process implements pipeline.Stage on at most batch items.
func (s *Embed) Process(ctx context.Context, items []*pipeline.Item) (*pipeline.Embeddings, error) {
	out := &pipeline.Embeddings{Items: items, Vectors: make([][]float32, len(s.tasks))}
	var good []*pipeline.Item
	for _, it := range items {
		if it.Reject == nil && it.Need != pipeline.NeedNothing {
			good = append(good, it)
		}
	}
	if len(good) == 0 {
		return out, nil
	}
	if len(good) > s.batch {
		return nil, fmt.Errorf("batch of %d images, room for %d", len(good), s.batch)
	}
	var r engine.Runner
	select {
	case r = <-s.runners:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { s.runners <- r }()
	if err := s.run(r, good); err != nil {
		return nil, err
	}
	return out, s.take(r, good, out.Vectors)
}

func (s *Embed) run(r engine.Runner, items []*pipeline.Item) error {
	input := r.Input()
	size := len(input) / s.batch
	for i, it := range items {
		s.norm.Apply(input[i*size:(i+1)*size], it.Pixels)
		s.pixels.Put(it.Pixels)
		it.Pixels = nil
	}
	if err := r.Run(len(items)); err != nil {
		return fmt.Errorf("images %q to %q: %w", items[0].Key, items[len(items)-1].Key, err)
	}
	return nil
}

// take copies and checks the outputs: the runner's memory is overwritten by the next run.
func (s *Embed) take(r engine.Runner, items []*pipeline.Item, vectors [][]float32) error {
	for t, task := range s.tasks {
		v := make([]float32, len(items)*task.Dim)
		copy(v, r.Output(t))
		for i, it := range items {
			if err := CheckVector(task, v[i*task.Dim:(i+1)*task.Dim]); err != nil {
				return fmt.Errorf("image %q: %w", it.Key, err)
			}
		}
		vectors[t] = v
	}
	return nil
}

// CheckVector returns an ErrModel for a vector with a NaN or an infinity, or one whose length is not
// 1 ± 0.001 where the task promises unit length.
func CheckVector(task pipeline.Task, v []float32) error {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	switch norm := math.Sqrt(sum); {
	case math.IsNaN(norm) || math.IsInf(norm, 0):
		return fmt.Errorf("%w: task %q: output %q holds NaN or infinity", ErrModel, task.Name, task.Output)
	case task.Normalized && math.Abs(norm-1) > normTolerance:
		return fmt.Errorf("%w: task %q: output %q has length %.4f, promised is unit length", ErrModel, task.Name, task.Output, norm)
	}
	return nil
}
