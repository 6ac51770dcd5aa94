package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/stages"
)

// survivors lists the keys that a damaged snapshot still tells of: those of its items and of its quarantine;
// and, of shards whose items are lost, those of the Arrow file beside them, or those that are in the bucket.
// It is a gallery.Source.
type survivors struct {
	job      *job
	whole    *sinks.Snapshot // with its damaged files
	rejected map[int]map[string]pipeline.Ref
	rejects  map[int]map[string]int64 // their ids
	next     func() (pipeline.Ref, error, bool)
	stop     func()
}

// open finds out what is known of lost shards, and begins the list.
func (s *survivors) open(ctx context.Context) error {
	if err := s.readRejects(ctx); err != nil {
		return err
	}
	refs, err := s.lost(ctx)
	if err != nil {
		return err
	}
	for _, shard := range s.rejected {
		refs = slices.AppendSeq(refs, maps.Values(shard))
	}
	s.next, s.stop = iter.Pull2(s.all(ctx, refs))
	return nil
}

func (s *survivors) readRejects(ctx context.Context) error {
	s.rejected, s.rejects = map[int]map[string]pipeline.Ref{}, map[int]map[string]int64{}
	left := s.job.previous
	for _, f := range left.Select(sinks.QuarantineTable, "") {
		data, err := left.ReadFile(ctx, f)
		if err != nil {
			return err
		}
		err = sinks.ReadQuarantine(ctx, data, func(q sinks.Quarantined) error {
			shard := int(q.ID >> pipeline.ShardShift)
			if s.rejected[shard] == nil {
				s.rejected[shard], s.rejects[shard] = map[string]pipeline.Ref{}, map[string]int64{}
			}
			s.rejected[shard][q.Key] = pipeline.Ref{Key: q.Key, ETag: q.ETag, Size: q.Bytes}
			s.rejects[shard][q.Key] = q.ID
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// errStopped ends a reading that nobody wants more of.
var errStopped = errors.New("stopped")

// all are the given refs and those of the items.
func (s *survivors) all(ctx context.Context, refs []pipeline.Ref) iter.Seq2[pipeline.Ref, error] {
	left := s.job.previous
	return func(yield func(pipeline.Ref, error) bool) {
		for _, r := range refs {
			if !yield(r, nil) {
				return
			}
		}
		for _, f := range left.Select(sinks.Items, "") {
			err := left.EachItem(ctx, f, func(r sinks.Row) error {
				if !yield(refOf(r), nil) {
					return errStopped
				}
				return nil
			})
			if err != nil {
				if !errors.Is(err, errStopped) {
					yield(pipeline.Ref{}, err)
				}
				return
			}
		}
	}
}

func refOf(r sinks.Row) pipeline.Ref {
	return pipeline.Ref{Key: r.Key, ETag: r.ETag, Size: r.Bytes, Attributes: r.Attributes}
}

// lost are the refs of the shards whose items can't be read. Their ids go into the repair.
func (s *survivors) lost(ctx context.Context) ([]pipeline.Ref, error) {
	r := s.job.repair
	var refs []pipeline.Ref
	unknown := map[int]map[string]pipeline.Ref{}
	for shard := range r.lost {
		found, err := s.arrow(ctx, shard)
		if err != nil {
			return nil, err
		}
		if found == nil {
			unknown[shard] = map[string]pipeline.Ref{}
		}
		refs = append(refs, found...)
	}
	if len(unknown) == 0 {
		return refs, nil
	}
	if err := s.list(ctx, unknown); err != nil {
		return nil, err
	}
	for shard, listed := range unknown {
		found, err := s.recover(ctx, shard, listed)
		if err != nil {
			return nil, err
		}
		refs = append(refs, found...)
	}
	return refs, nil
}

// arrow reads a shard's items from the file beside the lost one; nil if there is none.
func (s *survivors) arrow(ctx context.Context, shard int) (refs []pipeline.Ref, err error) {
	left := s.job.previous
	for _, f := range left.Select(sinks.ItemsArrow, "") {
		if f.Shard != shard {
			continue
		}
		ids := map[string]int64{}
		err = left.EachItem(ctx, f, func(r sinks.Row) error {
			ids[r.Key] = r.ID
			refs = append(refs, refOf(r))
			return nil
		})
		s.job.repair.ids[shard] = ids
	}
	return refs, err
}

// list finds the objects in the bucket whose keys belong to some shards.
func (s *survivors) list(ctx context.Context, into map[int]map[string]pipeline.Ref) error {
	for r, err := range s.job.images.List(ctx, "") {
		if err != nil {
			return fmt.Errorf("list %s: %w", s.job.images, err)
		}
		shard := stages.ShardOf(r.Key, s.whole.Shards.Count)
		if _, known := s.rejects[shard][r.Key]; into[shard] != nil && !known && r.Size != 0 {
			into[shard][r.Key] = r
		}
	}
	return nil
}

// recover gives the listed keys of a shard their ids: those of the snapshots before, or, if all are of the first
// snapshot, those of the order of keys. Keys that remain without get new ones, and are told of.
func (s *survivors) recover(ctx context.Context, shard int, listed map[string]pipeline.Ref) (refs []pipeline.Ref, err error) {
	r := s.job.repair
	present, err := s.idsOfVectors(ctx, shard)
	if err != nil {
		return nil, err
	}
	ids, pristine, err := s.whole.Ancestry(ctx, shard)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(ids, func(key string, id int64) bool { return present != nil && !present[id] })
	if pristine {
		ids = s.byOrder(shard, present, slices.Sorted(maps.Keys(listed)))
	}
	r.ids[shard] = ids
	all := int64(len(ids)) == r.lost[shard]
	for key, ref := range listed {
		if _, ok := ids[key]; ok || !all {
			refs = append(refs, ref)
		}
	}
	if n := r.lost[shard] - int64(len(ids)); n > 0 {
		r.report(fmt.Sprintf("shard %d: the items are lost, and the ids of %d of its %d images; they get new ones", shard, n, r.lost[shard]))
	}
	if len(s.whole.Attributes) > 0 {
		r.report(fmt.Sprintf("shard %d: the attributes of its images are lost until the next night", shard))
	}
	return refs, nil
}

// idsOfVectors are the ids that a shard's embeddings of any task name; nil if none can be read.
func (s *survivors) idsOfVectors(ctx context.Context, shard int) (map[int64]bool, error) {
	left := s.job.previous
	for _, t := range left.Tasks {
		for _, f := range left.Select(sinks.Embedding, t.Name) {
			if f.Shard != shard {
				continue
			}
			ids := map[int64]bool{}
			err := left.EachVectors(ctx, f, t.Dim, func(v sinks.Vectors) error {
				for _, id := range v.IDs {
					ids[id] = true
				}
				return nil
			})
			return ids, err
		}
	}
	return nil, nil
}

// byOrder gives ids to the keys of a shard of a first snapshot, where sequences follow the order of keys. It
// knows none unless keys and sequences are as many, and every rejected key stands where its id says.
func (s *survivors) byOrder(shard int, present map[int64]bool, listed []string) map[string]int64 {
	rejects := s.rejects[shard]
	keys := slices.AppendSeq(slices.Clone(listed), maps.Keys(rejects))
	slices.Sort(keys)
	next := s.whole.Shards.NextSequence[shard]
	if int64(len(keys)) != next || present != nil && int64(len(present)+len(rejects)) != next {
		return nil
	}
	ids := map[string]int64{}
	for i, key := range keys {
		id := int64(shard)<<pipeline.ShardShift | int64(i)
		if known, rejected := rejects[key]; !rejected {
			ids[key] = id
		} else if known != id {
			return nil
		}
	}
	return ids
}

// Next implements pipeline.Source.
func (s *survivors) Next(ctx context.Context) (pipeline.Ref, error) {
	if err := ctx.Err(); err != nil {
		return pipeline.Ref{}, err
	}
	r, err, ok := s.next()
	if !ok {
		return r, io.EOF
	}
	return r, err
}

// Attributes implements gallery.Source.
func (s *survivors) Attributes() []string { return s.job.previous.Attributes }

// Skipped implements gallery.Source.
func (s *survivors) Skipped() int64 { return s.whole.Ledger.Skipped }

// Close implements gallery.Source.
func (s *survivors) Close() error { s.stop(); return nil }
