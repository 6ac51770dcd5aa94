// Package index is the job `facet index`: images in object storage become one searchable index a
// task, published as a snapshot.
package index

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/gate"
	"github.com/facet-search/facet/stages"
)

// Result is what a night came to; it is the JSON line that `facet index --json` ends with.
type Result struct {
	Snapshot        string             `json:"snapshot"`  // the current one, published tonight or not
	Unchanged       bool               `json:"unchanged"` // nothing was to be done, and nothing was published
	Ledger          sinks.Ledger       `json:"ledger"`
	Recall          map[string]float64 `json:"recall@10"`
	Seconds         float64            `json:"seconds"`
	ImagesPerSecond float64            `json:"images_per_second"`
	Phases          map[string]float64 `json:"phase_seconds"`
	Gate            []sinks.Check      `json:"gate"`
}

// Run runs the job. On an error nothing is published: objects that were written already are named by
// nothing, and CURRENT is where it was. With a gate.ErrRefused comes the result, if there is a snapshot:
// it is complete, and its manifest says why it is not the current one.
func Run(ctx context.Context, c Config, p *progress.Progress) (*Result, error) {
	return perform(ctx, c, nil, p)
}

// perform runs a night, or a repair.
func perform(ctx context.Context, c Config, r *repair, p *progress.Progress) (*Result, error) {
	begun := time.Now()
	j, ctx, err := open(ctx, c, r, p)
	if err != nil {
		return nil, err
	}
	defer j.close()
	for _, step := range []func(context.Context) error{j.list, j.compare, j.embed, j.index, j.storeModel, j.check} {
		err := step(ctx)
		if errors.Is(err, errUnchanged) {
			return j.unchanged(time.Since(begun)), nil
		}
		if err != nil {
			return nil, sinks.Lost(ctx, err)
		}
	}
	if err = j.publish(ctx); err != nil && !errors.Is(err, gate.ErrRefused) {
		return nil, sinks.Lost(ctx, err)
	}
	return j.result(time.Since(begun)), err
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
	return j.checkListing()
}

// compare finds out what the night has to do, before it does any of it.
func (j *job) compare(ctx context.Context) (err error) {
	if j.agenda, err = j.newAgenda(); err != nil {
		return err
	}
	j.progress.Start("compare", j.listing.Count())
	f := pipeline.NewFlow(ctx)
	shards := pipeline.From(f, stages.NewPlan(j.listing, j.manifest.Shards.Count))
	deltas := pipeline.Through(f, "compare", shards, stages.Compare{Parent: j.reuse.parent(), Rules: j.reuse.rules}, compares)
	pipeline.Into(f, deltas, j.agenda)
	if err := f.Commit(ctx, j.agenda); err != nil {
		return err
	}
	j.finish("compare")
	if !j.agenda.touched && j.same() {
		return errUnchanged
	}
	return j.checkDeleted(j.manifest.Ledger)
}

// compares is how many shards are compared at a time; each is in memory then.
const compares = 4

// embed is the flow from the items of changed shards to stored shards.
func (j *job) embed(ctx context.Context) error {
	c, m, r := j.config, j.manifest, j.reuse
	budget := stages.NewBudget(int64(c.Memory.InFlight), int64(c.Limits.Bytes))
	pixels, data := &stages.Buffers{}, &stages.Buffers{}
	fetch := stages.NewFetch(images{j.images, c.patience()}, int64(c.Limits.Bytes), data)
	recognise := stages.Recognise{Contents: r.contents(), Need: r.rules.Need, Buffers: data}
	decode, err := stages.NewDecode(j.model.Preprocess, c.imageLimits(), c.Cores, pixels, data)
	if err != nil {
		return err
	}
	compute, err := j.openCompute(pixels)
	if err != nil {
		return err
	}
	defer compute.Close()
	shards, err := sinks.NewShards(j.dir, j.tasks, m.Attributes, c.arrow())
	if err != nil {
		return err
	}
	defer shards.Close()
	shards.Reuse = sinks.Reuse{Past: r.past, Changed: r.changed, Named: j.agenda.named}
	upload := sinks.Upload{Objects: j.output, Past: r.past, Records: j.records, Name: j.agenda.record}

	j.progress.Start("embed", j.agenda.backlog.Count())
	f := pipeline.NewFlow(ctx)
	items := pipeline.Through(f, "admit", pipeline.From(f, j.agenda.backlog), stages.Admit{Budget: budget}, 1)
	fetched := pipeline.Through(f, "fetch", items, fetch, c.Fetch)
	known := pipeline.Through(f, "recognise", fetched, recognise, c.Cores)
	batches := pipeline.Gather(f, "batch", pipeline.Through(f, "decode", known, decode, c.Cores), &stages.Batches{Size: c.Batch})
	embs := pipeline.Through(f, "embed", batches, compute, c.Cores)
	done := pipeline.Gather(f, "write", pipeline.Through(f, "count", embs, counter{j.progress}, 1), shards)
	pipeline.Into(f, pipeline.Through(f, "store", done, upload, uploads), j.collect)
	if err := f.Wait(); err != nil {
		return err
	}
	j.finish("embed")
	if j.same() && j.collect.Same(r.past) {
		return j.clear(ctx, errUnchanged)
	}
	return j.collect.Commit(ctx)
}

// clear removes the records of a night that is over, unless another run has taken its place, and returns
// how it ended.
func (j *job) clear(ctx context.Context, ended error) error {
	if err := j.lease.Held(); err != nil {
		return err
	}
	if err := j.records.Clear(ctx); err != nil {
		j.progress.Log().Warn("the night is over; facet gc will remove the records of its work", "error", err)
	}
	return ended
}

// uploads is how many shards are stored at a time, beside the one that is being written.
const uploads = 2

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
	if c.Full {
		builder.Parent = nil
	}
	recorded := sinks.RecordedIndexes{Builder: builder, Records: j.records}
	var jobs []sinks.IndexJob
	for _, t := range j.manifest.Tasks {
		jobs = append(jobs, sinks.IndexJob{
			Task: t.Task, Digest: t.Digest, Factory: c.factory(t.Name), Files: j.manifest.Select(sinks.Embedding, t.Name),
		})
	}
	j.progress.Start("index", int64(len(jobs)))
	f := pipeline.NewFlow(ctx)
	built := pipeline.Through(f, "index", pipeline.From(f, pipeline.Slice(jobs)), recorded, min(c.Cores, len(jobs)))
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

// publish writes the manifest, which makes the snapshot complete, and then makes it the current one
// unless the gate refuses it.
func (j *job) publish(ctx context.Context) error {
	j.progress.Start("publish", 1)
	m := j.manifest
	m.Created = time.Now().UTC().Truncate(time.Second)
	m.Sort()
	current, err := sinks.WriteManifest(ctx, j.output, m)
	if err != nil {
		return err
	}
	if err := gate.Verdict(m.Gate); err != nil {
		return fmt.Errorf("snapshot %s is %w; to publish it all the same: facet publish --accept %s", m.Snapshot, err, m.Snapshot)
	}
	if err := j.lease.Held(); err != nil {
		return err
	}
	if _, err := j.pointer.Move(ctx, j.output, current); err != nil {
		return err
	}
	if err := j.records.Clear(ctx); err != nil {
		j.progress.Log().Warn("the snapshot is published; facet gc will remove what is left of the run", "error", err)
	}
	j.progress.Add(progress.Count{Items: 1})
	j.finish("publish")
	return nil
}

// storeModel puts the model beside the files it made.
func (j *job) storeModel(ctx context.Context) error {
	model, err := sinks.StoreModel(ctx, j.output, j.modelFile)
	if err != nil {
		return err
	}
	j.manifest.Model.Path = model.Path
	j.manifest.Files = append(j.manifest.Files, model)
	return nil
}

func (j *job) finish(phase string) { j.phases[phase] = j.progress.Finish().Seconds() }

// unchanged is the result of a night that published nothing.
func (j *job) unchanged(took time.Duration) *Result {
	r := j.result(took)
	r.Snapshot, r.Unchanged = j.previous.Snapshot, true
	for _, t := range j.previous.Tasks {
		r.Recall[t.Name] = t.Index.Recall
	}
	return r
}

func (j *job) result(took time.Duration) *Result {
	r := &Result{
		Snapshot: j.manifest.Snapshot, Ledger: j.manifest.Ledger, Recall: map[string]float64{}, Phases: j.phases, Gate: j.manifest.Gate,
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
