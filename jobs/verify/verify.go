// Package verify is the job `facet verify`: it reads a published snapshot again, all of it, and
// compares everything with everything that it should agree with.
package verify

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
)

// ErrDifferences means that the snapshot is not what its manifest says.
var ErrDifferences = errors.New("the snapshot differs from its manifest")

// Report is what was checked and what was found.
type Report struct {
	Snapshot    string   `json:"snapshot"`
	Files       int      `json:"files"`
	Bytes       int64    `json:"bytes"`
	Images      int64    `json:"images"`
	Vectors     int64    `json:"vectors"`
	Differences []string `json:"differences"`
}

// mostDifferences bounds the report: a snapshot that is wrong throughout needs no more examples.
const mostDifferences = 1000

// Run verifies the snapshot that CURRENT names. The report is nil where there is none to verify; the
// error is an ErrDifferences if it lists any.
func Run(ctx context.Context, output string) (*Report, error) {
	if output == "" {
		return nil, fmt.Errorf("%w: verify wants --output", jobfile.ErrConfig)
	}
	objects, err := store.Open(ctx, output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	snapshot, err := sinks.OpenCurrent(ctx, objects)
	if errors.Is(err, sinks.ErrDamaged) {
		return &Report{Differences: []string{err.Error()}}, fmt.Errorf("%w: %w", ErrDifferences, err)
	}
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "facet-verify-")
	if err != nil {
		return nil, fmt.Errorf("scratch folder: %w", err)
	}
	defer os.RemoveAll(dir)
	v := &verifier{Report: Report{Snapshot: snapshot.Snapshot, Differences: []string{}}, snapshot: snapshot, dir: dir}
	if err := v.run(ctx); err != nil {
		return nil, err
	}
	if n := len(v.Differences); n > 0 {
		return &v.Report, fmt.Errorf("%w: %d differences", ErrDifferences, n)
	}
	return &v.Report, nil
}

type verifier struct {
	Report
	snapshot *sinks.Snapshot
	dir      string
	ids      faiss.IDSet // of all items
	items    map[int]shardIDs
}

// shardIDs sums up the items of a shard, in their order.
type shardIDs struct {
	rows int64
	hash uint64
}

func (v *verifier) differ(format string, args ...any) {
	if len(v.Differences) < mostDifferences {
		v.Differences = append(v.Differences, fmt.Sprintf(format, args...))
	}
}

// tolerate turns damage into a difference and passes other errors on: a store that is down says
// nothing about the snapshot.
func (v *verifier) tolerate(f sinks.File, err error) error {
	if errors.Is(err, sinks.ErrDamaged) {
		v.differ("%s: %v", f.Path, err)
		return nil
	}
	return err
}

func (v *verifier) run(ctx context.Context) error {
	v.items = map[int]shardIDs{}
	v.structure()
	for _, step := range []func(context.Context) error{v.checkItems, v.checkEmbeddings, v.checkQuarantine, v.checkOthers, v.checkIndexes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	v.checkLedger()
	return nil
}

// structure checks what the manifest says against itself.
func (v *verifier) structure() {
	if err := v.snapshot.Ledger.Balance(); err != nil {
		v.differ("ledger: %v", err)
	}
	perShard := map[string]int{}
	for _, f := range v.snapshot.Files {
		v.Files++
		v.Bytes += f.Bytes
		if f.Kind == sinks.Items || f.Kind == sinks.Embedding {
			perShard[fmt.Sprintf("%s of task %q, shard %d", f.Kind, f.Task, f.Shard)]++
		}
	}
	for what, n := range perShard {
		if n > 1 {
			v.differ("manifest: %d files for %s", n, what)
		}
	}
	for _, t := range v.snapshot.Tasks {
		if n := len(v.snapshot.Select(sinks.Index, t.Name)); n != 1 {
			v.differ("manifest: task %q has %d indexes, want 1", t.Name, n)
		}
	}
}

func (v *verifier) checkItems(ctx context.Context) error {
	for _, f := range v.snapshot.Select(sinks.Items, "") {
		sum := newShardSum()
		keys := map[string]bool{}
		err := v.snapshot.EachItem(ctx, f, func(r sinks.Row) error {
			v.checkPlace(f, r.ID)
			if stages.ShardOf(r.Key, v.snapshot.Shards.Count) != f.Shard {
				v.differ("%s: key %q does not belong to shard %d", f.Path, r.Key, f.Shard)
			}
			if keys[r.Key] {
				v.differ("%s: key %q occurs twice", f.Path, r.Key)
			}
			keys[r.Key] = true
			sum.add(r.ID)
			v.ids.Add(r.ID)
			return nil
		})
		if err := v.tolerate(f, err); err != nil {
			return err
		}
		v.items[f.Shard] = sum.shardIDs
		v.Images += sum.rows
		v.checkRows(f, sum)
	}
	return nil
}

func (v *verifier) checkPlace(f sinks.File, id int64) {
	sequence := id & (1<<pipeline.ShardShift - 1)
	if int(id>>pipeline.ShardShift) != f.Shard || sequence >= v.snapshot.Shards.NextSequence[f.Shard] {
		v.differ("%s: image id %d was never allotted in shard %d", f.Path, id, f.Shard)
	}
}

func (v *verifier) checkRows(f sinks.File, sum *shardSum) {
	if sum.rows != f.Rows {
		v.differ("%s: %d rows, the manifest says %d", f.Path, sum.rows, f.Rows)
	}
	if !sum.rising {
		v.differ("%s: image ids do not rise", f.Path)
	}
}

func (v *verifier) checkEmbeddings(ctx context.Context) error {
	for _, t := range v.snapshot.Tasks {
		shards := map[int]bool{}
		for _, f := range v.snapshot.Select(sinks.Embedding, t.Name) {
			shards[f.Shard] = true
			if err := v.checkVectors(ctx, t.Task, f); err != nil {
				return err
			}
		}
		for shard := range v.items {
			if !shards[shard] {
				v.differ("task %q: shard %d has items and no embeddings", t.Name, shard)
			}
		}
	}
	return nil
}

func (v *verifier) checkVectors(ctx context.Context, t pipeline.Task, f sinks.File) error {
	sum := newShardSum()
	err := v.snapshot.EachVectors(ctx, f, t.Dim, func(vs sinks.Vectors) error {
		for i, id := range vs.IDs {
			sum.add(id)
			if err := stages.CheckVector(t, vs.Data[i*t.Dim:(i+1)*t.Dim]); err != nil {
				v.differ("%s: image %d: %v", f.Path, id, err)
			}
		}
		return nil
	})
	if err := v.tolerate(f, err); err != nil {
		return err
	}
	v.Vectors += sum.rows
	v.checkRows(f, sum)
	if sum.shardIDs != v.items[f.Shard] {
		v.differ("%s: its images are not those of the shard's items, row for row", f.Path)
	}
	return nil
}
