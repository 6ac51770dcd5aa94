package network

import (
	"context"
	"fmt"

	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/stages/engine"
)

// Model reads the copy of the model that a snapshot keeps, with the preprocessing and the tasks that it was
// run with. It is a sinks.ErrDamaged that it is not there or is no such model.
func Model(ctx context.Context, s *sinks.Snapshot) (*modulation.Model, []byte, error) {
	files := s.Select(sinks.Model, "")
	if len(files) != 1 {
		return nil, nil, fmt.Errorf("%w: snapshot %s names %d models, want 1", sinks.ErrDamaged, s.Snapshot, len(files))
	}
	file, err := s.ReadFile(ctx, files[0])
	if err != nil {
		return nil, nil, err
	}
	var tasks []pipeline.Task
	for _, t := range s.Tasks {
		tasks = append(tasks, t.Task)
	}
	m, err := modulation.Open(file, modulation.Overrides{Tasks: tasks, Preprocess: &s.Model.Preprocess})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %s: %w", sinks.ErrDamaged, files[0].Path, err)
	}
	return m, file, nil
}

// OpenSnapshot loads a snapshot's own model for some of its tasks.
func OpenSnapshot(ctx context.Context, s *sinks.Snapshot, tasks []pipeline.Task) (engine.Engine, error) {
	m, file, err := Model(ctx, s)
	if err != nil {
		return nil, err
	}
	return Open(s.Model.Engine, file, m, tasks)
}
