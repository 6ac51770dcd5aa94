// Package evaluate is the job `facet evaluate`: how well a model, or a published snapshot, tells the
// classes of a labelled gallery apart.
package evaluate

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages/labels"
)

// Result is what was measured; it is what `facet evaluate --json` prints.
type Result struct {
	Source  string       `json:"source"` // the model's file, or the snapshot's id
	Measure Measure      `json:"measure"`
	Images  int          `json:"images"` // embedded
	Absent  int          `json:"absent"` // labelled images without an embedding: unreadable, or not in the snapshot
	Tasks   []TaskResult `json:"tasks"`
	Seconds float64      `json:"seconds"`
}

// Run evaluates what the configuration, which has passed its validation, names.
func Run(ctx context.Context, c Config, p *progress.Progress) (*Result, error) {
	begun := time.Now()
	r := &Result{Measure: c.Measure, Source: c.Model.Path}
	g, v, err := c.embeddings(ctx, r, p)
	if err != nil {
		return nil, err
	}
	rows, err := c.Measure.Rows(g)
	if err != nil {
		return nil, err
	}
	for _, row := range rows.Needed(g) {
		if v.Have[row] {
			r.Images++
		} else {
			r.Absent++
		}
	}
	if r.Images == 0 {
		return nil, fmt.Errorf("%w: none of the labelled images has an embedding: do the keys of labels and gallery agree? The labels have %q", jobfile.ErrConfig, g.Keys[0])
	}
	if r.Tasks, err = c.Measure.Tasks(ctx, g, rows, v, c.Cores, p); err != nil {
		return nil, err
	}
	r.Seconds = time.Since(begun).Seconds()
	return r, nil
}

// embeddings reads labels and gets the embeddings that are needed, from the snapshot or the model.
func (c *Config) embeddings(ctx context.Context, r *Result, p *progress.Progress) (*labels.Gallery, *Vectors, error) {
	if c.Output != "" {
		return c.published(ctx, r)
	}
	images, err := store.Open(ctx, c.Gallery)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: gallery: %w", jobfile.ErrConfig, err)
	}
	g, needed, err := c.labels(ctx, images)
	if err != nil {
		return nil, nil, err
	}
	e, err := c.embedder(images, g)
	if err != nil {
		return nil, nil, err
	}
	v, err := e.Embed(ctx, g.Keys, needed, p)
	return g, v, err
}

// published reads the embeddings of a snapshot.
func (c *Config) published(ctx context.Context, r *Result) (*labels.Gallery, *Vectors, error) {
	s, err := openSnapshot(ctx, c.Output)
	if err != nil {
		return nil, nil, err
	}
	r.Source = s.Snapshot.Snapshot
	g, needed, err := c.labels(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	tasks, err := choose(c.Tasks, s.tasks(), g)
	if err != nil {
		return nil, nil, err
	}
	wanted := map[string]int{}
	for _, row := range needed {
		wanted[g.Keys[row]] = row
	}
	v, err := s.vectors(ctx, tasks, wanted, g.Len())
	return g, v, err
}

// labels reads the labels, and says which rows the measurement needs.
func (c *Config) labels(ctx context.Context, images store.Lister) (*labels.Gallery, []int, error) {
	g, err := labelled.Open(ctx, c.Labels, images)
	if err != nil {
		return nil, nil, err
	}
	rows, err := c.Measure.Rows(g)
	if err != nil {
		return nil, nil, err
	}
	return g, rows.Needed(g), nil
}

func (c *Config) embedder(images store.Store, g *labels.Gallery) (*Embedder, error) {
	file, err := os.ReadFile(c.Model.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: model: %w", jobfile.ErrConfig, err)
	}
	m, err := modulation.Open(file, modulation.Overrides{Tasks: c.Model.Tasks, Preprocess: c.Model.Preprocess})
	if err != nil {
		return nil, fmt.Errorf("%w: model %s: %w", jobfile.ErrConfig, c.Model.Path, err)
	}
	tasks, err := choose(c.Tasks, m.Tasks, g)
	if err != nil {
		return nil, err
	}
	return &Embedder{
		Images: images, Model: m, File: file, Tasks: tasks, Engine: c.Engine, Batch: c.Batch, Cores: c.Cores, Fetch: c.Fetch, Reject: c.Reject,
	}, nil
}

// choose picks the tasks that are named, or those with labels.
func choose(wanted []string, have []pipeline.Task, g *labels.Gallery) (tasks []pipeline.Task, err error) {
	var names []string
	for _, t := range have {
		names = append(names, t.Name)
		if _, ok := g.Task(t.Name); ok && (len(wanted) == 0 || slices.Contains(wanted, t.Name)) {
			tasks = append(tasks, t)
		}
	}
	if len(tasks) == 0 || len(wanted) > len(tasks) {
		return nil, fmt.Errorf("%w: tasks: wanted are %q, the labels are of %q, the embeddings of %q; "+
			"labels: {tasks: [task=column]} gives a column another name", jobfile.ErrConfig, wanted, g.Names(), names)
	}
	return tasks, nil
}

// WriteTable prints a result for people.
func (r *Result) WriteTable(w io.Writer) error {
	m := r.Measure
	fmt.Fprintf(w, "%s: %d images embedded, %d absent; queries: %s, searched in: %s", r.Source, r.Images, r.Absent, m.Queries, m.Against)
	if m.Limit > 0 {
		fmt.Fprintf(w, " (the first %d)", m.Limit)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "task\ttriplets right\trecall@1\trecall@10\tmAP\tqueries\tunlabelled\tgallery\t")
	for _, x := range r.Tasks {
		fmt.Fprintf(t, "%s\t%.4f\t%.4f\t%.4f\t%.4f\t%d\t%d\t%d\t\n", x.Task, x.TripletAccuracy, x.Recall1, x.Recall10, x.MAP, x.Queries, x.Unlabelled, x.Gallery)
	}
	return t.Flush()
}
