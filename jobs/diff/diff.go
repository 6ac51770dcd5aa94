// Package diff is the job `facet diff`: what changed from one snapshot to another. It reads the shards
// whose files differ and no others, and a sample for drift.
package diff

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/gate"
	"github.com/facet-search/facet/sinks/store"
)

// Request names two snapshots of one output.
type Request struct {
	Output  string
	A, B    string // ids
	Task    string // "" for all that both have
	Queries int    // unchanged images to search for in both
}

// Kind is what happened to an image.
type Kind string

const (
	Added    Kind = "added"
	Removed  Kind = "removed"
	Changed  Kind = "changed"  // another content
	Relisted Kind = "relisted" // the same content under another etag, or with other attributes
)

// Change is one image that differs.
type Change struct {
	Kind Kind   `json:"change"`
	Key  string `json:"key"`
	ID   int64  `json:"image_id"`
}

// Report is what differs.
type Report struct {
	A      string         `json:"a"`
	B      string         `json:"b"`
	Images [2]int64       `json:"images"`
	Counts map[Kind]int64 `json:"counts"`
	Shards int            `json:"shards"` // that were read, of all
	Of     int            `json:"of"`
	Tasks  []Task         `json:"tasks"`
}

// Task is what differs in a task.
type Task struct {
	Task   string      `json:"task"`
	Only   string      `json:"only,omitempty"` // "a" or "b": the snapshot that alone has it
	Recall [2]float64  `json:"recall@10"`      // -1 where it was not measured
	Index  [2]string   `json:"index"`          // factory strings
	Files  int         `json:"files"`          // embeddings files that differ
	Drift  *gate.Drift `json:"drift,omitempty"`
}

// Run compares two snapshots. each is called with every image that differs, shard by shard.
func Run(ctx context.Context, r Request, each func(Change) error) (*Report, error) {
	if r.Output == "" || r.A == "" || r.B == "" {
		return nil, fmt.Errorf("%w: diff wants --output and two snapshots; `facet snapshots` lists them", jobfile.ErrConfig)
	}
	objects, err := store.Open(ctx, r.Output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	var d differ
	if d.a, err = sinks.OpenSnapshot(ctx, objects, r.A); err != nil {
		return nil, err
	}
	if d.b, err = sinks.OpenSnapshot(ctx, objects, r.B); err != nil {
		return nil, err
	}
	if d.a.Shards.Count != d.b.Shards.Count {
		return nil, fmt.Errorf("%w: the snapshots have %d and %d shards; only snapshots of one lineage can be compared",
			jobfile.ErrConfig, d.a.Shards.Count, d.b.Shards.Count)
	}
	if r.Task != "" && !slices.Contains(d.names(), r.Task) {
		return nil, fmt.Errorf("%w: neither snapshot has a task %q; they have %q", jobfile.ErrConfig, r.Task, d.names())
	}
	d.each = each
	d.report = Report{A: r.A, B: r.B, Counts: map[Kind]int64{}, Of: d.a.Shards.Count}
	d.report.Images = [2]int64{images(d.a), images(d.b)}
	if err := d.items(ctx); err != nil {
		return nil, err
	}
	return &d.report, d.tasks(ctx, r)
}

func images(s *sinks.Snapshot) int64 { return s.Ledger.Embedded + s.Ledger.Reused }

type differ struct {
	a, b   *sinks.Snapshot
	each   func(Change) error
	report Report
}

// byShard are the files of a kind and task; a shard has one.
func byShard(s *sinks.Snapshot, k sinks.Kind, task string) map[int]sinks.File {
	files := map[int]sinks.File{}
	for _, f := range s.Select(k, task) {
		files[f.Shard] = f
	}
	return files
}

func (d *differ) items(ctx context.Context) error {
	a, b := byShard(d.a, sinks.Items, ""), byShard(d.b, sinks.Items, "")
	for shard := range d.a.Shards.Count {
		if a[shard] == b[shard] { // the same file, or none
			continue
		}
		d.report.Shards++
		if err := d.shard(ctx, a[shard], b[shard]); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) shard(ctx context.Context, a, b sinks.File) error {
	was := map[string]sinks.Row{}
	err := eachItem(ctx, d.a, a, func(r sinks.Row) error {
		was[r.Key] = r
		return nil
	})
	if err != nil {
		return err
	}
	err = eachItem(ctx, d.b, b, func(r sinks.Row) error {
		old, had := was[r.Key]
		delete(was, r.Key)
		if kind := compare(old, r, had); kind != "" {
			return d.tell(kind, r)
		}
		return nil
	})
	if err != nil || len(was) == 0 {
		return err
	}
	return eachItem(ctx, d.a, a, func(r sinks.Row) error { // once more, for their order
		if _, gone := was[r.Key]; gone {
			return d.tell(Removed, r)
		}
		return nil
	})
}

func (d *differ) tell(k Kind, r sinks.Row) error {
	d.report.Counts[k]++
	return d.each(Change{k, r.Key, r.ID})
}

func eachItem(ctx context.Context, s *sinks.Snapshot, f sinks.File, do func(sinks.Row) error) error {
	if f.Path == "" {
		return nil
	}
	return s.EachItem(ctx, f, do)
}

// compare is what happened to an image; "" is nothing.
func compare(was, is sinks.Row, had bool) Kind {
	switch {
	case !had:
		return Added
	case was.ContentHash != is.ContentHash:
		return Changed
	case was.ETag != is.ETag || fmt.Sprint(was.Attributes) != fmt.Sprint(is.Attributes):
		return Relisted
	}
	return ""
}

func (d *differ) tasks(ctx context.Context, r Request) error {
	dir, err := os.MkdirTemp("", "facet-diff-")
	if err != nil {
		return fmt.Errorf("scratch folder: %w", err)
	}
	defer os.RemoveAll(dir)
	c := gate.Comparison{Was: d.a, Is: d.b, Dir: dir, Queries: r.Queries}
	if err := c.Sample(ctx); err != nil {
		return err
	}
	for _, name := range d.names() {
		if r.Task != "" && r.Task != name {
			continue
		}
		t, err := d.task(ctx, &c, name)
		if err != nil {
			return err
		}
		d.report.Tasks = append(d.report.Tasks, t)
	}
	return nil
}

// names are the tasks of both, the first's first.
func (d *differ) names() (names []string) {
	have := map[string]bool{}
	for _, s := range []*sinks.Snapshot{d.a, d.b} {
		for _, t := range s.Tasks {
			if !have[t.Name] {
				names = append(names, t.Name)
			}
			have[t.Name] = true
		}
	}
	return names
}

func (d *differ) task(ctx context.Context, c *gate.Comparison, name string) (Task, error) {
	t := Task{Task: name, Recall: [2]float64{-1, -1}}
	a, errA := d.a.Task(name)
	b, errB := d.b.Task(name)
	if errA == nil {
		t.Recall[0], t.Index[0] = a.Index.Recall, a.Index.Factory
	}
	if errB == nil {
		t.Recall[1], t.Index[1] = b.Index.Recall, b.Index.Factory
	}
	switch {
	case errA != nil:
		t.Only = "b"
		return t, nil
	case errB != nil:
		t.Only = "a"
		return t, nil
	}
	before, after := byShard(d.a, sinks.Embedding, name), byShard(d.b, sinks.Embedding, name)
	for shard := range d.a.Shards.Count {
		if before[shard] != after[shard] {
			t.Files++
		}
	}
	drift, err := c.Measure(ctx, name)
	t.Drift = &drift
	return t, err
}
