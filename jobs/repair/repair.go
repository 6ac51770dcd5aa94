// Package repair is the job `facet verify --repair`: what verify finds to be damaged is made again, and
// published as a snapshot whose parent is the damaged one.
package repair

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/jobs/verify"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
)

// Options say what is repaired.
type Options struct {
	verify.Options
	Model string // the model's file, where the snapshot's own copy is damaged
}

// Outcome is what came of it.
type Outcome struct {
	Found    *verify.Report `json:"found"`              // in the damaged snapshot
	Repaired *index.Result  `json:"repaired,omitempty"` // nil where there was nothing to do
	After    *verify.Report `json:"after,omitempty"`    // of the repaired one
	Losses   []string       `json:"losses"`             // what could not be recovered
}

// ErrBeyond means that there is nothing left to repair from.
var ErrBeyond = errors.New("it can't be repaired")

// Run verifies the current snapshot, repairs it if it has to, and verifies what it has published.
func Run(ctx context.Context, o Options, p *progress.Progress) (*Outcome, error) {
	if o.Snapshot != "" {
		return nil, fmt.Errorf("%w: --repair is for the current snapshot; leave --snapshot out", jobfile.ErrConfig)
	}
	out := &Outcome{Losses: []string{}}
	var err error
	out.Found, err = verify.Check(ctx, o.Options)
	if !errors.Is(err, verify.ErrDifferences) {
		return out, err
	}
	if out.Found.Files == 0 {
		return out, fmt.Errorf("%w without a manifest; roll back: facet rollback --to ID: %w", ErrBeyond, err)
	}
	if out.Repaired, err = remake(ctx, o, out, p); err != nil {
		return out, err
	}
	out.After, err = verify.Check(ctx, o.Options)
	return out, err
}

func remake(ctx context.Context, o Options, out *Outcome, p *progress.Progress) (*index.Result, error) {
	objects, err := store.Open(ctx, o.Output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	s, err := sinks.OpenCurrent(ctx, objects)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "facet-repair-")
	if err != nil {
		return nil, fmt.Errorf("scratch folder: %w", err)
	}
	defer os.RemoveAll(dir)
	c, err := config(ctx, o, s, out.Found.Damaged, dir)
	if err != nil {
		return nil, err
	}
	lose := func(what string) { out.Losses = append(out.Losses, what) }
	r, err := index.Repair(ctx, c, out.Found.Snapshot, out.Found.Damaged, lose, p)
	if err != nil {
		return nil, fmt.Errorf("repair snapshot %s: %w", out.Found.Snapshot, err)
	}
	return r, nil
}

// config is that of a night which would give the same snapshot again. Limits let everything pass: images that
// were in quarantine stay there, and those that were embedded passed the job's own. Nor does the gate hold the
// repaired snapshot against the damaged one.
func config(ctx context.Context, o Options, s *sinks.Snapshot, damaged []string, dir string) (index.Config, error) {
	c := index.Defaults()
	c.Output, c.Gallery.Prefix, c.Engine = o.Output, s.Gallery, s.Model.Engine
	if o.Gallery != "" {
		c.Gallery.Prefix = o.Gallery
	}
	if c.Gallery.Prefix == "" {
		return c, fmt.Errorf("%w: the manifest does not say where the images are; --repair wants --gallery", jobfile.ErrConfig)
	}
	c.Limits.Reject, c.Limits.Pixels, c.Limits.Bytes, c.Limits.Scans = 1, 1<<31, 1<<31, 1000
	c.Gate = index.Gate{Centroid: 2, Norm: math.MaxFloat64, Deleted: 1, Queries: c.Gate.Queries}
	if len(s.Select(sinks.ItemsArrow, "")) > 0 {
		c.Format = "arrow"
	}
	c.Index = map[string]string{}
	var tasks []pipeline.Task
	for _, t := range s.Tasks {
		tasks = append(tasks, t.Task)
		c.Index[t.Name] = t.Index.Factory
	}
	c.Model = index.Model{Path: o.Model, Tasks: tasks, Preprocess: &s.Model.Preprocess}
	if o.Model != "" {
		return c, nil
	}
	c.Model.Path = filepath.Join(dir, "model.onnx")
	return c, model(ctx, s, damaged, c.Model.Path)
}

// model takes the snapshot's own copy of the model out of the store.
func model(ctx context.Context, s *sinks.Snapshot, damaged []string, to string) error {
	files := s.Select(sinks.Model, "")
	if len(files) != 1 || slices.Contains(damaged, files[0].Path) {
		return fmt.Errorf("%w: the snapshot's copy of the model is damaged; --repair wants --model FILE, with SHA-256 %s", jobfile.ErrConfig, s.Model.SHA256)
	}
	return s.Download(ctx, files[0], to)
}
