package sinks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/facet-search/facet/pipeline"
)

// Past is a published snapshot as the next night uses it: what it holds of each key, where a content
// was seen before, and the vectors of rows. It is safe for several goroutines.
//
// Its memory follows one shard and the quarantine, not the gallery: content hashes and the rows that
// are asked for lie on local disk.
type Past struct {
	snapshot    *Snapshot
	files       map[Kind]map[string]map[int]File // by task and shard
	paths       map[string]bool
	quarantined map[int][]Quarantined // by shard
	contents    *contents
	rows        *rowCache
	distrusted  map[int]bool             // see Distrust
	recovered   map[int]map[string]int64 // by shard
}

// NewPast opens a snapshot's past. reusable are the tasks whose vectors may be used again. dir is a local
// folder that exists.
func NewPast(ctx context.Context, s *Snapshot, reusable []pipeline.Task, dir string) (*Past, error) {
	p := &Past{snapshot: s, files: map[Kind]map[string]map[int]File{}, paths: map[string]bool{}, quarantined: map[int][]Quarantined{}}
	for _, f := range s.Files {
		if p.files[f.Kind] == nil {
			p.files[f.Kind] = map[string]map[int]File{}
		}
		if p.files[f.Kind][f.Task] == nil {
			p.files[f.Kind][f.Task] = map[int]File{}
		}
		p.files[f.Kind][f.Task][f.Shard] = f
		p.paths[f.Path] = true
	}
	if err := p.readQuarantine(ctx); err != nil {
		return nil, err
	}
	p.contents = newContents(dir)
	p.rows = newRowCache(p, reusable, dir)
	return p, nil
}

// Close removes what lies on local disk.
func (p *Past) Close() {
	p.contents.close()
	p.rows.close()
}

func (p *Past) readQuarantine(ctx context.Context) error {
	for _, f := range p.snapshot.Select(QuarantineTable, "") {
		data, err := p.snapshot.ReadFile(ctx, f)
		if err != nil {
			return err
		}
		err = ReadQuarantine(ctx, data, func(q Quarantined) error {
			shard := int(q.ID >> pipeline.ShardShift)
			p.quarantined[shard] = append(p.quarantined[shard], q)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

// allQuarantined are the snapshot's rejects in the order of ids.
func (p *Past) allQuarantined() (all []Quarantined) {
	for _, shard := range slices.Sorted(maps.Keys(p.quarantined)) {
		all = append(all, p.quarantined[shard]...)
	}
	return all
}

// Known returns all that the snapshot holds of a shard, the quarantine included: an image that could
// not be read keeps its id for the night when it can.
func (p *Past) Known(ctx context.Context, shard int) (map[string]*pipeline.Known, int64, error) {
	known := map[string]*pipeline.Known{}
	for _, q := range p.quarantined[shard] {
		reject := &pipeline.Reject{Reason: q.Reason, Err: errors.New(q.Error)}
		known[q.Key] = &pipeline.Known{ID: q.ID, ETag: q.ETag, Size: q.Bytes, Reject: reject}
	}
	next := p.snapshot.Shards.NextSequence[shard]
	if p.Distrusted(shard) {
		return known, next, p.recall(ctx, shard, known)
	}
	if f, ok := p.files[Items][""][shard]; ok {
		var seen []content
		err := p.snapshot.EachItem(ctx, f, func(r Row) error {
			known[r.Key] = r.known()
			seen = append(seen, content{prefixOf(r.ContentHash), r.ID})
			return nil
		})
		if err == nil {
			err = p.contents.add(seen)
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return known, next, nil
}

func (r Row) known() *pipeline.Known {
	return &pipeline.Known{
		ID: r.ID, ETag: r.ETag, Size: r.Bytes, ContentHash: r.ContentHash, Width: r.Width, Height: r.Height, Attributes: r.Attributes,
	}
}

// Find returns the row of the lowest id with a content, or nil. It may be called once Known has been
// called for every shard.
func (p *Past) Find(ctx context.Context, hash [32]byte) (*pipeline.Known, error) {
	ids, err := p.contents.find(prefixOf(hash))
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		r, err := p.rows.row(ctx, id)
		if err != nil {
			return nil, err
		}
		if r.hash == hash {
			return &pipeline.Known{ID: id, ContentHash: hash, Width: r.width, Height: r.height}, nil
		}
	}
	return nil, nil
}

// Vectors returns a row's vectors of the reusable tasks, in their order. They are
// the caller's.
func (p *Past) Vectors(ctx context.Context, id int64) ([][]float32, error) {
	r, err := p.rows.row(ctx, id)
	if err != nil {
		return nil, err
	}
	return r.vectors, nil
}

// Files returns a shard's files of some kinds, each for a task or, for the items, for "", to be named
// again.
func (p *Past) Files(shard int, task string, kinds ...Kind) (list []Sealed) {
	for _, k := range kinds {
		if f, ok := p.files[k][task][shard]; ok {
			list = append(list, Sealed{File: f})
		}
	}
	return list
}

// Kept is a shard in which nothing has changed: its files are named again, and its rejects carried over.
func (p *Past) Kept(number int, items []*pipeline.Item, files []Sealed) *Shard {
	s := &Shard{Number: number, Files: files}
	for _, it := range items {
		if it.Reject != nil {
			s.Quarantined = append(s.Quarantined, quarantined(it))
			continue
		}
		s.Reused++
	}
	return s
}

// Holds tells whether the snapshot names a file.
func (p *Past) Holds(path string) bool { return p != nil && p.paths[path] }

// EachItem reads one of the snapshot's items files row by row.
func (s *Snapshot) EachItem(ctx context.Context, f File, do func(Row) error) error {
	data, err := s.ReadFile(ctx, f)
	if err != nil {
		return err
	}
	if err := ReadItems(ctx, data, do); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// EachVectors reads one of the snapshot's embeddings files.
func (s *Snapshot) EachVectors(ctx context.Context, f File, dim int, do func(Vectors) error) error {
	data, err := s.ReadFile(ctx, f)
	if err != nil {
		return err
	}
	if err := ReadVectors(ctx, data, dim, do); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}
