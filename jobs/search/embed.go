package search

import (
	"context"
	"fmt"
	"os"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/network"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/stages"
	"github.com/facet-search/facet/stages/imaging"
)

// embed is the vector of an image file, by the snapshot's own model and preprocessing.
func (s searcher) embed(ctx context.Context, name string) ([]float32, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: image: %w", jobfile.ErrConfig, err)
	}
	state := s.snapshot.Manifest.Model
	d, err := imaging.NewDecoder(state.Preprocess, imaging.Limits{}, imaging.Options{})
	if err != nil {
		return nil, err
	}
	h, w := state.Preprocess.Output()
	it := &pipeline.Item{Ref: pipeline.Ref{Key: name}, Pixels: make([]byte, 3*h*w)}
	if _, err := d.Decode(data, it.Pixels); err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	return s.run(ctx, it, state)
}

func (s searcher) run(ctx context.Context, it *pipeline.Item, state sinks.ModelState) ([]float32, error) {
	tasks := []pipeline.Task{s.task}
	e, err := network.OpenSnapshot(ctx, s.snapshot, tasks)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	embed, err := stages.NewEmbed(e, tasks, state.Preprocess, 1, 1, &stages.Buffers{})
	if err != nil {
		return nil, err
	}
	defer embed.Close()
	out, err := embed.Process(ctx, []*pipeline.Item{it})
	if err != nil {
		return nil, err
	}
	return out.Vectors[0], nil
}
