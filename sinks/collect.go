package sinks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

// ErrRejects means that more images were rejected than the job allows.
var ErrRejects = errors.New("too many images are rejected")

// Collect takes stored shards, in any order, enters them into the manifest, and writes the quarantine.
// It is a pipeline.Sink; the manifest is complete up to its indexes after Commit. In its memory are the
// rejected images, of which there are few: limits.reject says how many at most.
type Collect struct {
	objects     store.Store
	dir         string
	manifest    *Manifest
	quarantined []Quarantined
	limit       int64
}

// NewCollect fills the manifest as shards come. More than limit rejected images stop the flow with
// an ErrRejects.
func NewCollect(objects store.Store, dir string, m *Manifest, limit int64) *Collect {
	m.Ledger.Reasons = map[pipeline.Reason]int64{}
	m.Ledger.Tasks = map[string]TaskLedger{}
	for _, t := range m.Tasks {
		m.Ledger.Tasks[t.Name] = TaskLedger{}
	}
	return &Collect{objects: objects, dir: dir, manifest: m, limit: limit}
}

// Write implements pipeline.Sink.
func (c *Collect) Write(_ context.Context, s *Shard) error {
	l := &c.manifest.Ledger
	l.Embedded += s.Embedded
	l.Reused += s.Reused
	l.Changed += s.Changed
	l.Quarantined += int64(len(s.Quarantined))
	for _, f := range s.Files {
		c.manifest.Files = append(c.manifest.Files, f.File)
		if f.Kind == Embedding {
			t := l.Tasks[f.Task]
			t.Rows += f.Rows
			t.Computed += s.Computed[f.Task]
			l.Tasks[f.Task] = t
		}
	}
	for _, q := range s.Quarantined {
		l.Reasons[q.Reason]++
	}
	c.quarantined = append(c.quarantined, s.Quarantined...)
	if l.Quarantined > c.limit {
		last := c.quarantined[len(c.quarantined)-1]
		return fmt.Errorf("%w: %d by the end of shard %d, %d are allowed by limits.reject; the last is %q: %s: %s",
			ErrRejects, l.Quarantined, s.Number, c.limit, last.Text, last.Reason, last.Error)
	}
	return nil
}

// Same tells whether the tables are those of the past: then nothing has changed, whatever was looked at.
func (c *Collect) Same(p *Past) bool {
	if p == nil || !slices.EqualFunc(c.sorted(), p.allQuarantined(), sameQuarantined) {
		return false
	}
	n := 0
	for _, f := range c.manifest.Files {
		if !p.paths[f.Path] {
			return false
		}
		n++
	}
	for _, f := range p.snapshot.Files {
		switch f.Kind {
		case Items, ItemsArrow, Embedding, EmbeddingArrow:
			n--
		}
	}
	return n == 0
}

func sameQuarantined(a, b Quarantined) bool {
	a.Key, b.Key = "", "" // Text says the same
	return a == b
}

// sorted are the rejects in the order of ids, which does not depend on the course of the night.
func (c *Collect) sorted() []Quarantined {
	slices.SortFunc(c.quarantined, func(a, b Quarantined) int { return cmp.Compare(a.ID, b.ID) })
	return c.quarantined
}

// Commit implements pipeline.Committer: it stores the quarantine beside the manifest to come.
func (c *Collect) Commit(ctx context.Context) error {
	q, err := newTable(c.dir, quarantineSchema(), memory.DefaultAllocator, QuarantineTable)
	if err != nil {
		return err
	}
	for _, row := range c.sorted() {
		if err := row.append(q); err != nil {
			q.discard()
			return err
		}
	}
	dir := path.Dir(ManifestPath(c.manifest.Snapshot))
	files, err := q.seal(func(Kind, string) File {
		return File{Path: path.Join(dir, "quarantine.parquet")}
	})
	if err != nil {
		return err
	}
	defer removeAll(files)
	c.manifest.Files = append(c.manifest.Files, files[0].File)
	return storeFile(ctx, c.objects, files[0])
}
