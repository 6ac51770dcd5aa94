// Package compare is the job `facet compare`: it trains the methods of the paper's comparison alike, with
// several seeds, and says what each is worth and what it costs.
package compare

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/engine/ort"
)

// Run trains what is not finished yet, and writes the tables into the output's folder: table.txt,
// table.csv, table.md and comparison.json. Stopped at any moment, the next call goes on.
func Run(ctx context.Context, c Config, p *progress.Progress) (*Comparison, error) {
	begun := time.Now()
	if _, err := ort.Version(); err != nil { // measures the models, after hours of training
		return nil, err
	}
	d, err := openData(ctx, c, p)
	if err != nil {
		return nil, err
	}
	runs, err := trainAll(ctx, c, d, p)
	if err != nil {
		return nil, err
	}
	p.Start("time", 1)
	speed, err := speeds(ctx, folder(c.Output), c.Methods, c.Seeds[0])
	if err != nil {
		return nil, err
	}
	p.Finish()
	result := summarise(c, runs, speed)
	result.Seconds = time.Since(begun).Seconds()
	return result, result.write(c.Output)
}

// trainAll makes all runs. Those of one seed come after one another, so that a comparison that is stopped
// has something to compare.
func trainAll(ctx context.Context, c Config, d *data, p *progress.Progress) ([]*Finished, error) {
	out, err := filepath.Abs(c.Output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	var trials []trial
	for _, seed := range c.Seeds {
		for _, m := range c.Methods {
			trials = append(trials, trial{m, seed})
		}
	}
	p.Start("train", int64(len(trials)*c.Recipe.Steps))
	all := &runs{}
	f := pipeline.NewFlow(ctx)
	s := &stage{config: c, data: d, folder: folder(out), progress: p}
	pipeline.Into(f, pipeline.Through(f, "train", pipeline.From(f, pipeline.Slice(trials)), s, c.Cores), all)
	if err := f.Commit(ctx, all); err != nil {
		return nil, err
	}
	p.Finish()
	return all.list, nil
}

// runs is the sink of finished runs.
type runs struct{ list []*Finished }

// Write implements pipeline.Sink.
func (r *runs) Write(_ context.Context, run *Finished) error {
	r.list = append(r.list, run)
	return nil
}

// Commit implements pipeline.Committer.
func (r *runs) Commit(context.Context) error { return nil }
