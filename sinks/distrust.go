package sinks

import (
	"context"
	"errors"
	"slices"

	"github.com/facet-search/facet/pipeline"
)

// Without is the snapshot as if it named some files no more, because they are damaged. The index of a task
// that loses vectors goes with them: it can't be brought up to date from what is not there.
func (s *Snapshot) Without(damaged []string) *Snapshot {
	m := *s.Manifest
	m.Files = nil
	affected := map[string]bool{}
	for _, f := range s.Files {
		switch f.Kind {
		case Index, IndexInfos, Embedding:
			affected[f.Task] = affected[f.Task] || slices.Contains(damaged, f.Path)
		}
	}
	for _, f := range s.Files {
		gone := (f.Kind == Index || f.Kind == IndexInfos) && affected[f.Task]
		if !gone && !slices.Contains(damaged, f.Path) {
			m.Files = append(m.Files, f)
		}
	}
	return &Snapshot{Manifest: &m, objects: s.objects, sum: s.sum, pointer: s.pointer}
}

// Distrust makes the past know no more than ids of some shards: nothing of them is named or used again.
// known replaces what a shard's items would say, where they are lost.
func (p *Past) Distrust(shards map[int]bool, known map[int]map[string]int64) {
	p.distrusted, p.recovered = shards, known
}

// Distrusted tells whether nothing of a shard but its ids may be used.
func (p *Past) Distrusted(shard int) bool { return p != nil && p.distrusted[shard] }

// recall is what is known of a distrusted shard's images.
func (p *Past) recall(ctx context.Context, shard int, known map[string]*pipeline.Known) error {
	if f, ok := p.files[Items][""][shard]; ok {
		return p.snapshot.EachItem(ctx, f, func(r Row) error {
			known[r.Key] = r.known()
			return nil
		})
	}
	for key, id := range p.recovered[shard] {
		known[key] = &pipeline.Known{ID: id}
	}
	return nil
}

// Ancestry finds a shard's ids in the snapshots before one, nearest first: a key has one id for good. There
// are none if no ancestor is left whose items can be read. pristine tells that no key got an id since the first
// snapshot of all, in which they follow the order of keys.
func (s *Snapshot) Ancestry(ctx context.Context, shard int) (known map[string]int64, pristine bool, err error) {
	m := s.Manifest
	for m.Parent != nil {
		older, err := OpenSnapshot(ctx, s.objects, *m.Parent)
		if errors.Is(err, ErrNoSnapshot) || errors.Is(err, ErrDamaged) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		ids := map[string]int64{}
		for _, f := range older.Select(Items, "") {
			if f.Shard != shard {
				continue
			}
			err := older.EachItem(ctx, f, func(r Row) error {
				ids[r.Key] = r.ID
				return nil
			})
			if err == nil {
				return ids, false, nil
			}
			if !errors.Is(err, ErrDamaged) {
				return nil, false, err
			}
		}
		m = older.Manifest
	}
	return nil, m.Shards.NextSequence[shard] == s.Shards.NextSequence[shard], nil
}
