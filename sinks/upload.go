package sinks

import (
	"context"
	"fmt"
	"os"

	"github.com/facet-search/facet/sinks/store"
)

// Upload stores the files of finished shards, and then records them. It is a pipeline.Stage, safe for
// several workers: an object is named by its content, so writing it again is harmless.
type Upload struct {
	Objects store.Store
	Past    *Past // what it holds is not stored again; may be nil
	Records *Records
	Name    func(shard int) string // of its record
}

// Process implements pipeline.Stage. The local files are gone afterwards.
func (u Upload) Process(ctx context.Context, s *Shard) (*Shard, error) {
	defer removeAll(s.Files)
	for _, f := range s.Files {
		if f.Local == "" || u.Past.Holds(f.Path) {
			continue
		}
		if err := storeFile(ctx, u.Objects, f); err != nil {
			return nil, err
		}
	}
	return s, u.Records.Save(ctx, u.Name(s.Number), s)
}

func storeFile(ctx context.Context, objects store.Store, s Sealed) error {
	f, err := os.Open(s.Local)
	if err != nil {
		return fmt.Errorf("store %s: %w", s.Path, err)
	}
	defer f.Close()
	if _, err := objects.Put(ctx, s.Path, f, s.Bytes, store.Condition{}); err != nil {
		return fmt.Errorf("store %s: %w", s.Path, err)
	}
	return nil
}
