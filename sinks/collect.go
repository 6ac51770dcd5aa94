package sinks

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

// ErrRejects means that more images were rejected than the job allows.
var ErrRejects = errors.New("too many images are rejected")

// Collect takes stored shards, enters them into the manifest, and writes the quarantine. It is a
// pipeline.Sink; the manifest is complete up to its indexes after Commit.
type Collect struct {
	objects    store.Store
	manifest   *Manifest
	quarantine *table
	limit      int64
}

// NewCollect fills the manifest as shards come. More than limit rejected images stop the flow with
// an ErrRejects.
func NewCollect(objects store.Store, dir string, m *Manifest, limit int64) (*Collect, error) {
	q, err := newTable(dir, quarantineSchema(), memory.DefaultAllocator, QuarantineTable)
	if err != nil {
		return nil, err
	}
	m.Ledger.Reasons = map[pipeline.Reason]int64{}
	m.Ledger.Tasks = map[string]TaskLedger{}
	return &Collect{objects: objects, manifest: m, quarantine: q, limit: limit}, nil
}

// Write implements pipeline.Sink.
func (c *Collect) Write(_ context.Context, s *Shard) error {
	l := &c.manifest.Ledger
	l.Embedded += s.Embedded
	l.Quarantined += int64(len(s.Quarantined))
	for _, f := range s.Files {
		c.manifest.Files = append(c.manifest.Files, f.File)
		if f.Kind == Embedding {
			t := l.Tasks[f.Task]
			t.Rows += f.Rows
			l.Tasks[f.Task] = t
		}
	}
	for _, q := range s.Quarantined {
		l.Reasons[q.Reason]++
		if err := c.append(q); err != nil {
			return err
		}
	}
	if l.Quarantined > c.limit {
		last := s.Quarantined[len(s.Quarantined)-1]
		return fmt.Errorf("%w: %d by the end of shard %d, %d are allowed by limits.reject; the last is %q: %s: %s",
			ErrRejects, l.Quarantined, s.Number, c.limit, last.Key, last.Reason, last.Error)
	}
	return nil
}

func (c *Collect) append(q Quarantined) error {
	f := c.quarantine.rows.Fields()
	f[0].(*array.Int64Builder).Append(q.ID)
	for i, s := range []string{q.Key, q.ETag, string(q.Reason), q.Error} {
		f[1+i].(*array.StringBuilder).Append(s)
	}
	return c.quarantine.rowDone()
}

// Commit implements pipeline.Committer: it stores the quarantine beside the manifest to come.
func (c *Collect) Commit(ctx context.Context) error {
	dir := path.Dir(ManifestPath(c.manifest.Snapshot))
	files, err := c.quarantine.seal(func(Kind, string) File {
		return File{Path: path.Join(dir, "quarantine.parquet")}
	})
	c.quarantine = nil
	if err != nil {
		return err
	}
	defer removeAll(files)
	c.manifest.Files = append(c.manifest.Files, files[0].File)
	return storeFile(ctx, c.objects, files[0])
}

// Close drops a quarantine that was not committed.
func (c *Collect) Close() {
	if c.quarantine != nil {
		c.quarantine.discard()
	}
}
