package verify

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cespare/xxhash/v2"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/stages"
)

// shardSum sums up the rows of a shard's table, in their order.
type shardSum struct {
	rows     int64
	ids      uint64 // digest of the ids
	contents uint64 // digest of all columns
}

// summing takes rows in.
type summing struct {
	shardSum
	rising        bool
	last          int64
	idDigest, all *xxhash.Digest
	buffer        []byte
}

func newSumming() *summing {
	return &summing{rising: true, last: -1, idDigest: xxhash.New(), all: xxhash.New()}
}

func (s *summing) add(id int64, row []byte) {
	s.rising = s.rising && id > s.last
	s.last = id
	s.rows++
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(id))
	s.idDigest.Write(b[:])
	s.all.Write(b[:])
	s.all.Write(row)
}

func (s *summing) sum() shardSum {
	s.ids, s.contents = s.idDigest.Sum64(), s.all.Sum64()
	return s.shardSum
}

func (s *summing) addVector(id int64, v []float32) {
	s.buffer = s.buffer[:0]
	for _, x := range v {
		s.buffer = binary.LittleEndian.AppendUint32(s.buffer, math.Float32bits(x))
	}
	s.add(id, s.buffer)
}

func (s *summing) addItem(r sinks.Row) error {
	b := s.buffer[:0]
	for _, text := range append([]string{r.Key, r.ETag}, r.Attributes...) {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	for _, n := range []int64{r.Bytes, int64(r.Width), int64(r.Height)} {
		b = binary.AppendVarint(b, n)
	}
	b = append(b, r.ContentHash[:]...)
	s.buffer = b
	s.add(r.ID, b)
	return nil
}

func (v *verifier) checkItems(ctx context.Context) error {
	for _, f := range v.snapshot.Select(sinks.Items, "") {
		sum := newSumming()
		keys := map[string]bool{}
		err := v.snapshot.EachItem(ctx, f, func(r sinks.Row) error {
			v.checkItem(f, r)
			if keys[r.Key] {
				v.blame(f, "key %q occurs twice", r.Key)
			}
			keys[r.Key] = true
			v.ids.Add(r.ID)
			v.deep.take(r)
			return sum.addItem(r)
		})
		v.unread[f.Shard] = err != nil
		if err := v.tolerate(f, err); err != nil {
			return err
		}
		v.items[f.Shard] = sum.sum()
		v.tables[tableOf(f)] = sum.contents
		v.Images += sum.rows
		v.checkRows(f, sum)
	}
	return nil
}

// tableOf names what a file is of, in whatever format.
func tableOf(f sinks.File) string { return fmt.Sprintf("%s/%d", f.Task, f.Shard) }

func (v *verifier) checkItem(f sinks.File, r sinks.Row) {
	v.checkPlace(f, r.ID)
	if stages.ShardOf(r.Key, v.snapshot.Shards.Count) != f.Shard {
		v.blame(f, "key %q does not belong to shard %d", r.Key, f.Shard)
	}
	if key, ok := v.rejects[r.ID]; ok {
		v.differ("%s: image id %d is that of %q and, in quarantine, of %q", f.Path, r.ID, r.Key, key)
	}
	if v.rejected[r.Key] {
		v.differ("%s: %q is an item and in quarantine", f.Path, r.Key)
	}
	if len(r.Attributes) != len(v.snapshot.Attributes) {
		v.blame(f, "%d attributes, the manifest names %d", len(r.Attributes), len(v.snapshot.Attributes))
	}
}

func (v *verifier) checkPlace(f sinks.File, id int64) {
	if !v.allotted(id) || int(id>>pipeline.ShardShift) != f.Shard {
		v.blame(f, "image id %d was never allotted in shard %d", id, f.Shard)
	}
}

// allotted tells whether an id was ever given to a key.
func (v *verifier) allotted(id int64) bool {
	shard, sequence := int(id>>pipeline.ShardShift), id&(1<<pipeline.ShardShift-1)
	return id >= 0 && shard < v.snapshot.Shards.Count && sequence < v.snapshot.Shards.NextSequence[shard]
}

func (v *verifier) checkRows(f sinks.File, sum *summing) {
	if sum.rows != f.Rows {
		v.blame(f, "%d rows, the manifest says %d", sum.rows, f.Rows)
	}
	if !sum.rising {
		v.blame(f, "image ids do not rise")
	}
}

func (v *verifier) checkEmbeddings(ctx context.Context) error {
	for _, t := range v.snapshot.Tasks {
		shards := map[int]bool{}
		v.sample[t.Name] = &sample{}
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
	sum := newSumming()
	err := v.snapshot.EachVectors(ctx, f, t.Dim, func(vs sinks.Vectors) error {
		for i, id := range vs.IDs {
			vector := vs.Data[i*t.Dim : (i+1)*t.Dim]
			sum.addVector(id, vector)
			if err := stages.CheckVector(t, vector); err != nil {
				v.blame(f, "image %d: %v", id, err)
			}
			if v.split.Sampled(id) {
				v.sample[t.Name].add(id, vector)
			}
			v.deep.vector(t.Name, id, vector)
		}
		return nil
	})
	if err := v.tolerate(f, err); err != nil {
		return err
	}
	got := sum.sum()
	v.tables[tableOf(f)] = got.contents
	v.Vectors += got.rows
	v.rows[t.Name] += got.rows
	v.checkRows(f, sum)
	if want := v.items[f.Shard]; !v.unread[f.Shard] && (got.rows != want.rows || got.ids != want.ids) {
		v.blame(f, "its images are not those of the shard's items, row for row")
	}
	return nil
}

// checkArrow wants the files beside the Parquet ones to hold the same rows.
func (v *verifier) checkArrow(ctx context.Context) error {
	for _, f := range v.snapshot.Files {
		sum := newSumming()
		var err error
		switch f.Kind {
		case sinks.ItemsArrow:
			err = v.snapshot.EachItem(ctx, f, sum.addItem)
		case sinks.EmbeddingArrow:
			err = v.arrowVectors(ctx, f, sum)
		default:
			continue
		}
		whole := err == nil
		if err := v.tolerate(f, err); err != nil {
			return err
		}
		if want, ok := v.tables[tableOf(f)]; whole && (!ok || sum.sum().contents != want) && !v.blamed[v.beside(f)] {
			v.blame(f, "its rows are not those of the Parquet file")
		}
	}
	return nil
}

// beside is the path of the Parquet file of an Arrow file's rows.
func (v *verifier) beside(arrow sinks.File) string {
	kind := map[sinks.Kind]sinks.Kind{sinks.ItemsArrow: sinks.Items, sinks.EmbeddingArrow: sinks.Embedding}[arrow.Kind]
	f, _ := v.fileOf(kind, arrow.Task, arrow.Shard)
	return f.Path
}

// fileOf finds a shard's file.
func (v *verifier) fileOf(k sinks.Kind, task string, shard int) (sinks.File, bool) {
	for _, f := range v.snapshot.Files {
		if f.Kind == k && f.Task == task && f.Shard == shard {
			return f, true
		}
	}
	return sinks.File{}, false
}

func (v *verifier) arrowVectors(ctx context.Context, f sinks.File, sum *summing) error {
	t, err := v.snapshot.Task(f.Task)
	if err != nil {
		return fmt.Errorf("%w: %w", sinks.ErrDamaged, err)
	}
	return v.snapshot.EachVectors(ctx, f, t.Dim, func(vs sinks.Vectors) error {
		for i, id := range vs.IDs {
			sum.addVector(id, vs.Data[i*t.Dim:(i+1)*t.Dim])
		}
		return nil
	})
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
				v.checkReject(f, q)
				return nil
			})
		}
		if err := v.tolerate(f, err); err != nil {
			return err
		}
		if rows != f.Rows {
			v.blame(f, "%d rows, the manifest says %d", rows, f.Rows)
		}
	}
	v.reasonsDiffer(reasons)
	return nil
}

func (v *verifier) checkReject(f sinks.File, q sinks.Quarantined) {
	if !v.allotted(q.ID) || int(q.ID>>pipeline.ShardShift) != stages.ShardOf(q.Key, v.snapshot.Shards.Count) {
		v.blame(f, "image id %d was never allotted to %q", q.ID, q.Key)
	}
	if _, twice := v.rejects[q.ID]; twice || v.rejected[q.Key] {
		v.blame(f, "%q, or its image id %d, is there twice", q.Key, q.ID)
	}
	v.rejects[q.ID], v.rejected[q.Key] = q.Key, true
}
