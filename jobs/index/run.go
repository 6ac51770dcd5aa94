// Package index is the job `facet index`: images in object storage become one searchable index a
// task, published as a snapshot.
package index

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/stages"
)

// Result is what a night came to; it is the JSON line that `facet index --json` ends with.
type Result struct {
	Snapshot        string             `json:"snapshot"`
	Ledger          sinks.Ledger       `json:"ledger"`
	Recall          map[string]float64 `json:"recall@10"`
	Seconds         float64            `json:"seconds"`
	ImagesPerSecond float64            `json:"images_per_second"`
	Phases          map[string]float64 `json:"phase_seconds"`
}

// Run runs the job. On an error nothing is published: objects that were written already are named by
// nothing, and CURRENT is where it was.
func Run(ctx context.Context, c Config, p *progress.Progress) (*Result, error) {
	begun := time.Now()
	j, err := open(ctx, c, p)
	if err != nil {
		return nil, err
	}
	defer j.close()
	for _, step := range []func(context.Context) error{j.list, j.embed, j.index, j.publish} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return j.result(time.Since(begun)), nil
}

// list drains the gallery's listing onto local disk.
func (j *job) list(ctx context.Context) (err error) {
	j.progress.Start("list", 0)
	var last int64
	j.listing, err = stages.List(ctx, j.gallery, filepath.Join(j.dir, "listing"), func(n int64) {
		j.progress.Add(progress.Count{Items: n - last})
		last = n
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", j.config.Gallery.address(), err)
	}
	j.progress.Add(progress.Count{Items: j.listing.Count() - last})
	j.finish("list")
	if j.listing.Count() == 0 {
		return fmt.Errorf("%w: %s", ErrEmpty, j.config.Gallery.address())
	}
	return nil
}

// embed is the flow from refs to stored shards.
func (j *job) embed(ctx context.Context) error {
	c, m := j.config, j.manifest
	plan := j.plan()
	budget := stages.NewBudget(int64(c.Memory.InFlight), int64(c.Limits.Bytes))
	pixels, data := &stages.Buffers{}, &stages.Buffers{}
	fetch := stages.NewFetch(images{j.images}, int64(c.Limits.Bytes), data)
	decode, err := stages.NewDecode(j.model.Preprocess, c.imageLimits(), c.Cores, pixels, data)
	if err != nil {
		return err
	}
	embed, err := stages.NewEmbed(j.engine, j.tasks, j.model.Preprocess, c.Batch, c.Cores, pixels)
	if err != nil {
		return err
	}
	defer embed.Close()
	shards, err := sinks.NewShards(j.dir, j.tasks, m.Attributes, c.Format == "arrow")
	if err != nil {
		return err
	}
	defer shards.Close()
	collect, err := sinks.NewCollect(j.output, j.dir, m, int64(c.Limits.Reject*float64(j.listing.Count())))
	if err != nil {
		return err
	}
	defer collect.Close()

	j.progress.Start("embed", j.listing.Count())
	f := pipeline.NewFlow(ctx)
	items := pipeline.Through(f, "admit", pipeline.From(f, plan), stages.Admit{Budget: budget}, 1)
	decoded := pipeline.Through(f, "decode", pipeline.Through(f, "fetch", items, fetch, c.Fetch), decode, c.Cores)
	embs := pipeline.Through(f, "embed", pipeline.Batch(f, decoded, c.Batch, sameShard), embed, c.Cores)
	done := pipeline.Gather(f, "write", pipeline.Through(f, "count", embs, counter{j.progress}, 1), shards)
	pipeline.Into(f, pipeline.Through(f, "store", done, sinks.Upload{Objects: j.output}, uploads), collect)
	if err := f.Commit(ctx, collect); err != nil {
		return err
	}
	j.finish("embed")
	m.Shards.NextSequence = plan.NextSequences()
	m.Ledger.Duplicates, m.Ledger.Skipped = plan.Duplicates(), j.gallery.Skipped()
	m.Ledger.Listed = j.listing.Count() - plan.Duplicates()
	m.Ledger.New = plan.New()
	if j.previous != nil {
		m.Ledger.Previous = j.previous.Ledger.Listed
		m.Ledger.Deleted = m.Ledger.Previous + m.Ledger.New - m.Ledger.Listed
	}
	return nil
}

// uploads is how many shards are stored at a time, beside the one that is being written.
const uploads = 2

// sameShard ends a batch with its shard, so that a shard's vectors don't depend on its neighbours.
func sameShard(last, _ *pipeline.Item) bool { return !last.Last }

func (j *job) plan() *stages.Plan {
	n := j.listing.Shards(j.config.ShardSize)
	var allotted stages.Allotted
	if j.previous != nil {
		n = j.previous.Shards.Count
		allotted = sinks.NewAllotted(j.previous)
	}
	j.manifest.Shards = sinks.ShardState{Count: n, Hash: "xxh64"}
	return stages.NewPlan(j.listing, n, allotted)
}

// counter reports what passes.
type counter struct{ progress *progress.Progress }

func (c counter) Process(_ context.Context, e *pipeline.Embeddings) (*pipeline.Embeddings, error) {
	n := progress.Count{Items: int64(len(e.Items))}
	for _, it := range e.Items {
		n.Bytes += max(it.Size, 0)
		if it.Reject != nil {
			n.Rejects++
		}
	}
	c.progress.Add(n)
	return e, nil
}

// index keeps up or builds the tasks' indexes, as many at a time as there are cores.
func (j *job) index(ctx context.Context) error {
	c := j.config
	builder := sinks.IndexBuilder{
		Objects: j.output, Parent: j.previous, Dir: j.dir, Memory: int64(c.Memory.Index), Threads: 1,
		Queries: c.Recall.Queries, Target: c.Recall.Target, Retrain: sinks.Retrain(c.Retrain),
	}
	var jobs []sinks.IndexJob
	for _, t := range j.manifest.Tasks {
		jobs = append(jobs, sinks.IndexJob{
			Task: t.Task, Digest: t.Digest, Factory: c.factory(t.Name), Files: j.manifest.Select(sinks.Embedding, t.Name),
		})
	}
	j.progress.Start("index", int64(len(jobs)))
	f := pipeline.NewFlow(ctx)
	built := pipeline.Through(f, "index", pipeline.From(f, pipeline.Slice(jobs)), builder, min(c.Cores, len(jobs)))
	done := pipeline.Through(f, "count", built, indexCounter{j.progress}, 1)
	indexed := sinks.Indexed{Manifest: j.manifest}
	pipeline.Into(f, done, indexed)
	if err := f.Commit(ctx, indexed); err != nil {
		return err
	}
	j.finish("index")
	return nil
}

type indexCounter struct{ progress *progress.Progress }

func (c indexCounter) Process(_ context.Context, b *sinks.BuiltIndex) (*sinks.BuiltIndex, error) {
	c.progress.Add(progress.Count{Items: 1})
	return b, nil
}

// factory is the index type asked for: the task's own, else the default, else "auto".
func (c *Config) factory(task string) string {
	for _, name := range []string{task, "default"} {
		if f := c.Index[name]; f != "" {
			return f
		}
	}
	return "auto"
}

// publish makes the snapshot the current one.
func (j *job) publish(ctx context.Context) error {
	j.progress.Start("publish", 1)
	model, err := sinks.StoreModel(ctx, j.output, j.modelFile)
	if err != nil {
		return err
	}
	j.manifest.Model.Path = model.Path
	j.manifest.Files = append(j.manifest.Files, model)
	j.manifest.Created = time.Now().UTC().Truncate(time.Second)
	if err := sinks.Publish(ctx, j.output, j.manifest, j.previous); err != nil {
		return err
	}
	j.progress.Add(progress.Count{Items: 1})
	j.finish("publish")
	return nil
}

func (j *job) finish(phase string) { j.phases[phase] = j.progress.Finish().Seconds() }

func (j *job) result(took time.Duration) *Result {
	r := &Result{
		Snapshot: j.manifest.Snapshot, Ledger: j.manifest.Ledger, Recall: map[string]float64{}, Phases: j.phases,
		Seconds: took.Seconds(), ImagesPerSecond: float64(j.manifest.Ledger.Listed) / took.Seconds(),
	}
	for _, t := range j.manifest.Tasks {
		r.Recall[t.Name] = t.Index.Recall
	}
	return r
}

// taskNamed finds a task by name.
func taskNamed(tasks []pipeline.Task, name string) (int, bool) {
	i := slices.IndexFunc(tasks, func(t pipeline.Task) bool { return t.Name == name })
	return i, i >= 0
}
