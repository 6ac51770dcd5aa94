package verify

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"

	"github.com/cespare/xxhash/v2"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
)

// shardSum takes a shard's ids in.
type shardSum struct {
	shardIDs
	rising bool
	last   int64
	digest *xxhash.Digest
}

func newShardSum() *shardSum { return &shardSum{rising: true, last: -1, digest: xxhash.New()} }

func (s *shardSum) add(id int64) {
	s.rising = s.rising && id > s.last
	s.last = id
	s.rows++
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(id))
	s.digest.Write(b[:])
	s.hash = s.digest.Sum64()
}

func (v *verifier) checkQuarantine(ctx context.Context) error {
	reasons := map[pipeline.Reason]int64{}
	files := v.snapshot.Select(sinks.QuarantineTable, "")
	if len(files) != 1 {
		v.differ("manifest: %d quarantines, want 1", len(files))
	}
	for _, f := range files {
		data, err := v.snapshot.ReadFile(ctx, f)
		var rows int64
		if err == nil {
			err = sinks.ReadQuarantine(ctx, data, func(q sinks.Quarantined) error {
				rows++
				reasons[q.Reason]++
				return nil
			})
		}
		if err := v.tolerate(f, err); err != nil {
			return err
		}
		if rows != f.Rows {
			v.differ("%s: %d rows, the manifest says %d", f.Path, rows, f.Rows)
		}
	}
	for _, m := range []map[pipeline.Reason]int64{reasons, v.snapshot.Ledger.Reasons} {
		for r := range m {
			if got, want := reasons[r], v.snapshot.Ledger.Reasons[r]; got != want {
				v.differ("quarantine: %d images %s, the ledger says %d", got, r, want)
			}
		}
	}
	return nil
}

// checkOthers compares the files that need no more than that with their digests.
func (v *verifier) checkOthers(ctx context.Context) error {
	for _, f := range v.snapshot.Files {
		switch f.Kind {
		case sinks.Model, sinks.IndexInfos, sinks.ItemsArrow, sinks.EmbeddingArrow:
			_, err := v.snapshot.ReadFile(ctx, f)
			if err := v.tolerate(f, err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *verifier) checkIndexes(ctx context.Context) error {
	path := filepath.Join(v.dir, "knn.index")
	for _, t := range v.snapshot.Tasks {
		for _, f := range v.snapshot.Select(sinks.Index, t.Name) {
			err := v.snapshot.Download(ctx, f, path)
			if err == nil {
				err = v.checkIndex(ctx, t, f, path)
			}
			if err := v.tolerate(f, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkIndex wants the index to hold the ids of the items, each once.
func (v *verifier) checkIndex(ctx context.Context, t sinks.TaskState, f sinks.File, path string) error {
	ix, err := faiss.OpenIndex(ctx, path, t.Task, 1)
	if err != nil {
		return damagedUnless(ctx.Err(), err)
	}
	defer ix.Close()
	if got := ix.Stats().Total; got != f.Rows || got != t.Index.NTotal {
		v.differ("%s: %d vectors, the manifest says %d and %d", f.Path, got, f.Rows, t.Index.NTotal)
	}
	ids, err := ix.IDSet()
	if err != nil {
		return damagedUnless(ctx.Err(), err)
	}
	if ids != v.ids {
		v.differ("%s: its image ids are not those of the items", f.Path)
	}
	return nil
}

// damagedUnless blames the index for what FAISS says of it, unless the run was cut short.
func damagedUnless(interrupted, err error) error {
	if interrupted != nil {
		return interrupted
	}
	return fmt.Errorf("%w: %w", sinks.ErrDamaged, err)
}

// checkLedger compares the ledger with what was counted.
func (v *verifier) checkLedger() {
	l := v.snapshot.Ledger
	have := l.Embedded + l.Reused
	if v.Images != have {
		v.differ("ledger: %d images embedded or reused, the items hold %d", have, v.Images)
	}
	if want := have * int64(len(v.snapshot.Tasks)); v.Vectors != want {
		v.differ("ledger: %d vectors expected, the embeddings hold %d", want, v.Vectors)
	}
	for _, t := range v.snapshot.Tasks {
		if l.Tasks[t.Name].NTotal != t.Index.NTotal {
			v.differ("ledger: ntotal of %q is %d, its index's %d", t.Name, l.Tasks[t.Name].NTotal, t.Index.NTotal)
		}
	}
}
