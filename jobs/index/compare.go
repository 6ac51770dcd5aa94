package index

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/stages"
)

// errUnchanged ends a night in which nothing has changed.
var errUnchanged = errors.New("nothing has changed")

// agenda is what the comparison comes to: shards that are named again or were finished by a killed run
// go straight into the manifest, the items of all others onto the backlog. It is a pipeline.Sink.
type agenda struct {
	job     *job
	header  []byte // what decides the bytes of every shard, beside its items
	backlog *stages.Backlog
	work    []stages.Work
	records map[int]string // of the shards on the backlog
	touched bool           // something is to be published
}

func (j *job) newAgenda() (*agenda, error) {
	header, err := j.header()
	if err != nil {
		return nil, err
	}
	a := &agenda{job: j, header: header, records: map[int]string{}}
	if a.backlog, err = stages.NewBacklog(filepath.Join(j.dir, "backlog")); err != nil {
		return nil, err
	}
	shards := sinks.ShardState{Count: j.listing.Shards(j.config.ShardSize), Hash: "xxh64"}
	if j.previous != nil {
		shards.Count = j.previous.Shards.Count
		j.manifest.Ledger.Previous = j.previous.Ledger.Listed
		j.manifest.Ledger.Deleted = j.repair.forgotten()
	}
	shards.NextSequence = make([]int64, shards.Count)
	a.work = make([]stages.Work, shards.Count)
	j.manifest.Shards = shards
	j.manifest.Ledger.Skipped = j.gallery.Skipped()
	j.collect = sinks.NewCollect(j.output, j.dir, j.manifest, int64(j.config.Limits.Reject*float64(j.listing.Count())))
	return a, nil
}

// Write implements pipeline.Sink.
func (a *agenda) Write(ctx context.Context, d *stages.ShardDelta) error {
	m := a.job.manifest
	l := &m.Ledger
	l.Listed += d.Listed
	l.New += d.New
	l.Deleted += d.Deleted
	l.Duplicates += d.Doubled
	m.Shards.NextSequence[d.Number] = d.Next
	a.work[d.Number] = d.Work
	a.touched = a.touched || d.Work != stages.Keep || d.Deleted > 0
	a.job.progress.Add(countOf(d))
	switch {
	case len(d.Items) == 0:
		return nil
	case d.Work == stages.Keep:
		return a.job.collect.Write(ctx, a.job.reuse.kept(d))
	}
	return a.finish(ctx, d)
}

// finish takes a shard from the record of a killed run, or puts it onto the backlog.
func (a *agenda) finish(ctx context.Context, d *stages.ShardDelta) error {
	name, err := a.name(d)
	if err != nil {
		return err
	}
	var oldest time.Time
	if d.Unlisted {
		oldest = time.Now().Add(-sameNight)
	}
	var done sinks.Shard
	if ok, err := a.job.records.Load(ctx, name, oldest, &done); err != nil || ok {
		if ok {
			err = a.job.collect.Write(ctx, &done)
		}
		return err
	}
	a.records[d.Number] = name
	return a.backlog.Add(d)
}

// sameNight is how long a record is good for images of which the listing does not say which content they
// are.
const sameNight = 24 * time.Hour

// name is the name of a shard's record: a digest over all that decides the bytes of its files.
func (a *agenda) name(d *stages.ShardDelta) (string, error) {
	h := sha256.New()
	h.Write(a.header)
	if err := d.Digest(h); err != nil {
		return "", err
	}
	return fmt.Sprintf("%05d-%s", d.Number, hex.EncodeToString(h.Sum(nil)[:16])), nil
}

func (a *agenda) record(shard int) string { return a.records[shard] }

// named tells that a shard's embeddings are named again.
func (a *agenda) named(shard int) bool { return a.work[shard] == stages.Describe }

// Commit implements pipeline.Committer.
func (a *agenda) Commit(context.Context) error { return a.backlog.Rewind() }

// header is what decides the bytes of every shard.
func (j *job) header() ([]byte, error) {
	c, m := j.config, j.manifest
	type task struct {
		Name   string
		Dim    int
		Digest string
	}
	var tasks []task
	for _, t := range m.Tasks {
		tasks = append(tasks, task{t.Name, t.Dim, t.Digest})
	}
	doc, err := json.Marshal([]any{
		m.Format, m.Facet, m.Gallery, m.Parent, m.Model.PreprocessDigest, m.Model.Engine, tasks, m.Attributes, c.Format, c.Full, c.Batch,
		c.Limits.Bytes, c.Limits.Pixels, c.Limits.Scans, c.Limits.Seconds,
	})
	if err != nil {
		return nil, fmt.Errorf("digest of the job: %w", err)
	}
	return doc, nil
}

// settings is the digest of what in a job decides what is published, beside gallery, model and tasks.
func (c *Config) settings(tasks []pipeline.Task) string {
	var factories []string
	for _, t := range tasks {
		factories = append(factories, c.factory(t.Name))
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %+v %s", factories, c.Memory.Index, c.Recall, c.Format))
	return hex.EncodeToString(sum[:])
}

// same tells that all but the images is as it was in the parent.
func (j *job) same() bool {
	if j.previous == nil || j.config.Full || j.repair != nil {
		return false
	}
	a, b := j.manifest, j.previous.Manifest
	sameTask := func(a, b sinks.TaskState) bool { return a.Task == b.Task && a.Digest == b.Digest }
	return a.Settings == b.Settings && a.Model.SHA256 == b.Model.SHA256 && a.Model.Engine == b.Model.Engine &&
		a.Model.PreprocessDigest == b.Model.PreprocessDigest && slices.EqualFunc(a.Tasks, b.Tasks, sameTask) &&
		slices.Equal(a.Attributes, b.Attributes)
}
