package sinks

import (
	"context"
	"fmt"

	"github.com/facet-search/facet/pipeline"
)

// Allotted knows the ids of a snapshot's keys, those in quarantine included: an image that could not
// be read tonight keeps its id for the night when it can.
type Allotted struct {
	snapshot    *Snapshot
	quarantined map[int]map[string]int64 // by shard; read once
}

// NewAllotted reads ids from a snapshot.
func NewAllotted(s *Snapshot) *Allotted { return &Allotted{snapshot: s} }

// NextSequences is, for each shard, the first sequence that no key has ever had.
func (a *Allotted) NextSequences() []int64 { return a.snapshot.Shards.NextSequence }

// IDs returns the ids of a shard's keys.
func (a *Allotted) IDs(ctx context.Context, shard int) (map[string]int64, error) {
	if a.quarantined == nil {
		if err := a.readQuarantine(ctx); err != nil {
			return nil, err
		}
	}
	ids := map[string]int64{}
	for k, id := range a.quarantined[shard] {
		ids[k] = id
	}
	for _, f := range a.snapshot.Select(Items, "") {
		if f.Shard != shard {
			continue
		}
		err := a.snapshot.EachItem(ctx, f, func(r Row) error {
			ids[r.Key] = r.ID
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func (a *Allotted) readQuarantine(ctx context.Context) error {
	a.quarantined = map[int]map[string]int64{}
	for _, f := range a.snapshot.Select(QuarantineTable, "") {
		data, err := a.snapshot.ReadFile(ctx, f)
		if err != nil {
			return err
		}
		err = ReadQuarantine(ctx, data, func(q Quarantined) error {
			shard := int(q.ID >> pipeline.ShardShift)
			if a.quarantined[shard] == nil {
				a.quarantined[shard] = map[string]int64{}
			}
			a.quarantined[shard][q.Key] = q.ID
			return nil
		})
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	return nil
}

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
