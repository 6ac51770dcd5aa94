package sinks

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// delta is the difference between the vectors that an index is of and tonight's. Its ids take 8 bytes
// a vector that changed, fewer than the index itself takes for any.
type delta struct {
	same    []File  // tonight's files that last night had too: nothing in them is read to compare
	gone    []int64 // to be removed from the index: what left, what was replaced, and the queries
	fresh   []int64 // ascending: what the index is to take, new or with another vector, but for the queries
	queries Vectors // held out of the index while recall is measured

	left, came, replaced int64
}

// isFresh tells whether one of tonight's vectors is not in last night's index.
func (d *delta) isFresh(id int64) bool {
	_, ok := slices.BinarySearch(d.fresh, id)
	return ok
}

// compare reads, on both sides, the shards whose files differ.
func (u *update) compare(ctx context.Context) error {
	before := map[int]File{}
	for _, f := range u.last.vectors {
		before[f.Shard] = f
	}
	for _, f := range u.job.Files {
		was, ok := before[f.Shard]
		delete(before, f.Shard)
		if ok && was.Path == f.Path {
			u.same = append(u.same, f)
			continue
		}
		now, err := readShard(f, func(do func(Vectors) error) error {
			return u.each(ctx, []File{f}, u.job.Task.Dim, do)
		})
		if err != nil {
			return err
		}
		if err := u.compareShard(ctx, was, now); err != nil {
			return err
		}
	}
	for _, was := range u.last.vectors {
		if _, ok := before[was.Shard]; !ok {
			continue
		}
		if err := u.compareShard(ctx, was, Vectors{}); err != nil {
			return err
		}
	}
	slices.Sort(u.fresh)
	return nil
}

// compareShard compares a file of last night's, if there is one, with what took its place.
func (u *update) compareShard(ctx context.Context, was File, now Vectors) error {
	var before Vectors
	if was.Path != "" {
		var err error
		before, err = readShard(was, func(do func(Vectors) error) error {
			return u.Parent.EachVectors(ctx, was, u.job.Task.Dim, do)
		})
		if err != nil {
			return u.blame("a file of last night's vectors", err)
		}
	}
	u.take(before, now)
	return nil
}

// readShard reads a whole file of vectors, whose ids must ascend.
func readShard(f File, each func(func(Vectors) error) error) (Vectors, error) {
	var all Vectors
	err := each(func(v Vectors) error {
		all.IDs, all.Data = append(all.IDs, v.IDs...), append(all.Data, v.Data...)
		return nil
	})
	for i := range all.IDs {
		if err == nil && i > 0 && all.IDs[i] <= all.IDs[i-1] {
			err = fmt.Errorf("%w: image ids do not ascend in %s", ErrDamaged, f.Path)
		}
	}
	return all, err
}

// take merges a shard's vectors of both nights by id.
func (u *update) take(before, now Vectors) {
	dim, i := u.job.Task.Dim, 0
	leave := func(until int64) {
		for ; i < len(before.IDs) && before.IDs[i] < until; i++ {
			u.left++
			u.gone = append(u.gone, before.IDs[i])
		}
	}
	for j, id := range now.IDs {
		leave(id)
		v := now.Data[j*dim : (j+1)*dim]
		known := i < len(before.IDs) && before.IDs[i] == id
		same := known && slices.Equal(before.Data[i*dim:(i+1)*dim], v)
		held := u.split.HeldOut(id)
		if known {
			i++
		}
		switch {
		case !known:
			u.came++
		case !same:
			u.replaced++
		}
		if known && (held || !same) {
			u.gone = append(u.gone, id)
		}
		if held {
			u.queries.IDs, u.queries.Data = append(u.queries.IDs, id), append(u.queries.Data, v...)
		} else if !same {
			u.fresh = append(u.fresh, id)
		}
	}
	leave(math.MaxInt64)
}

// holdOutSame finds the queries in the files that were not compared.
func (u *update) holdOutSame(ctx context.Context) error {
	return u.each(ctx, u.same, u.job.Task.Dim, func(v Vectors) error {
		v = v.where(u.job.Task.Dim, u.split.HeldOut)
		u.gone = append(u.gone, v.IDs...)
		u.queries.IDs, u.queries.Data = append(u.queries.IDs, v.IDs...), append(u.queries.Data, v.Data...)
		return nil
	})
}
