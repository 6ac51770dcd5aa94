package index

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/facet-search/facet/jobs/network"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/stages"
	"github.com/facet-search/facet/stages/engine"
)

// reuse is what of the parent goes into the new snapshot.
type reuse struct {
	past    *sinks.Past // nil before the first snapshot
	rules   stages.Rules
	changed []bool // by task: the parent's vectors are of another network
	tasks   []pipeline.Task
	kinds   []sinks.Kind // of the tables that a shard has, items first
}

// openReuse makes the manifest, and decides what of the parent it may take over.
func (j *job) openReuse(ctx context.Context) (err error) {
	j.manifest = j.newManifest()
	r := &j.reuse
	r.tasks, r.kinds = j.tasks, []sinks.Kind{sinks.Items, sinks.Embedding}
	if j.config.arrow() {
		r.kinds = append(r.kinds, sinks.ItemsArrow, sinks.EmbeddingArrow)
	}
	if j.previous == nil {
		return nil
	}
	var reusable []pipeline.Task
	for i, t := range j.manifest.Tasks {
		changed := j.config.Full || !j.comparable(t)
		r.changed = append(r.changed, changed)
		if !changed {
			reusable = append(reusable, j.tasks[i])
		}
	}
	r.rules = j.rules(len(reusable))
	r.past, err = sinks.NewPast(ctx, j.previous, reusable, j.dir)
	return err
}

// comparable tells that the parent's vectors of a task are what the model would compute again.
func (j *job) comparable(t sinks.TaskState) bool {
	a, b := j.manifest.Model, j.previous.Model
	old, err := j.previous.Task(t.Name)
	return err == nil && old.Digest == t.Digest && old.Dim == t.Dim && a.PreprocessDigest == b.PreprocessDigest && a.Engine == b.Engine
}

func (j *job) rules(reusable int) stages.Rules {
	c := j.config
	r := stages.Rules{
		Trust: !c.Full, Need: pipeline.NeedSome, Attributes: slices.Equal(j.manifest.Attributes, j.previous.Attributes), Retry: c.retries,
		Rewrite: c.arrow() && len(j.previous.Select(sinks.ItemsArrow, "")) == 0,
	}
	switch reusable {
	case 0:
		r.Need = pipeline.NeedAll
	case len(j.tasks):
		r.Need = pipeline.NeedNothing
	}
	return r
}

func (c *Config) arrow() bool { return c.Format == "arrow" }

// retries tells whether rejects of a reason are tried again.
func (c *Config) retries(r pipeline.Reason) bool {
	return slices.Contains(c.Retry, string(r)) || slices.Contains(c.Retry, "all")
}

// parent is what the listing is compared with.
func (r *reuse) parent() stages.Parent {
	if r.past == nil {
		return nil
	}
	return r.past
}

// contents is where known images are looked up; nil when their vectors are of no use.
func (r *reuse) contents() stages.Contents {
	if r.past == nil || r.rules.Need == pipeline.NeedAll {
		return nil
	}
	return r.past
}

// kept names a shard's files again.
func (r *reuse) kept(d *stages.ShardDelta) *sinks.Shard {
	var files []sinks.Sealed
	files = append(files, r.past.Files(d.Number, "", r.kinds...)...)
	for _, t := range r.tasks {
		files = append(files, r.past.Files(d.Number, t.Name, r.kinds...)...)
	}
	return r.past.Kept(d.Number, d.Items, files)
}

func countOf(d *stages.ShardDelta) progress.Count { return progress.Count{Items: d.Listed + d.Doubled} }

// compute is the stage that runs the model, with what it has open.
type compute struct {
	stages.Compute
	cut engine.Engine
}

// openCompute opens the model for new images, and cut down to the changed tasks for those that the parent
// has the others' vectors of.
func (j *job) openCompute(pixels *stages.Buffers) (*compute, error) {
	c := &compute{Compute: stages.Compute{Tasks: j.tasks, Changed: j.reuse.changed}}
	var err error
	pre := j.model.Preprocess
	if c.All, err = stages.NewEmbed(j.engine, j.tasks, pre, j.config.Batch, j.config.Cores, pixels); err != nil {
		return nil, err
	}
	if j.previous == nil || j.reuse.rules.Need != pipeline.NeedSome {
		return c, nil
	}
	var changed []pipeline.Task
	for i, t := range j.tasks {
		if j.reuse.changed[i] {
			changed = append(changed, t)
		}
	}
	file, err := j.cut(changed)
	if err == nil {
		c.cut, err = network.Open(j.config.Engine, file, j.model, changed)
	}
	if err == nil {
		c.Some, err = stages.NewEmbed(c.cut, changed, pre, j.config.Batch, j.config.Cores, pixels)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the model cut down to %s: %w", names(changed), err), c.Close())
	}
	return c, nil
}

// cut is the model's file with nothing in it but what some tasks need. A model whose tasks the job states
// is taken whole: the file does not know them.
func (j *job) cut(tasks []pipeline.Task) ([]byte, error) {
	if j.config.Model.Tasks != nil {
		return j.modelFile, nil
	}
	return modulation.Cut(j.modelFile, names(tasks))
}

// Close frees the runners.
func (c *compute) Close() error {
	err := c.All.Close()
	if c.Some != nil {
		err = errors.Join(err, c.Some.Close())
	}
	if c.cut != nil {
		err = errors.Join(err, c.cut.Close())
	}
	return err
}
