package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sort"

	"github.com/facet-search/facet/pipeline"
)

// loadAtMost is how many refs are brought into memory at a time, unless one shard holds more.
const loadAtMost = 1 << 17

// ShardRefs are all refs of one shard, in the order of their keys, each key once.
type ShardRefs struct {
	Number     int
	Refs       []pipeline.Ref
	Duplicates int64 // how often a key was listed again; the first one listed counts
}

// Plan turns a listing into shards, in ascending order and every one of them, be it empty: a shard
// that nothing is listed of any more may still hold what has to leave. It is a Source, used once.
type Plan struct {
	shards     int
	loadAtMost int64 // see the constant
	work       []part
	pending    []pipeline.Ref // loaded, of shards that may not be complete yet
	ready      []pipeline.Ref // of complete shards, sorted
	next       int            // the shard that comes next
}

// part is one partition of a spool that is still to be read.
type part struct {
	spool *spool
	n     int
}

// NewPlan plans the shards of a listing, which is gone from disk when the plan is at its end.
func NewPlan(l *Listing, shards int) *Plan {
	p := &Plan{shards: shards, loadAtMost: loadAtMost}
	p.push(l.spool)
	return p
}

// push puts a spool's partitions on the stack, the first on top.
func (p *Plan) push(s *spool) {
	for n := fanOut - 1; n >= 0; n-- {
		if s.counts[n] > 0 {
			p.work = append(p.work, part{s, n})
		}
	}
}

// Next implements pipeline.Source.
func (p *Plan) Next(ctx context.Context) (*ShardRefs, error) {
	for len(p.ready) == 0 && len(p.work) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		top := p.work[len(p.work)-1]
		p.work = p.work[:len(p.work)-1]
		if err := p.open(top); err != nil {
			return nil, err
		}
	}
	if p.next == p.shards {
		return nil, io.EOF
	}
	s := &ShardRefs{Number: p.next}
	p.next++
	end := sort.Search(len(p.ready), func(i int) bool { return p.shardOf(p.ready[i]) > s.Number })
	s.take(p.ready[:end])
	p.ready = p.ready[end:]
	return s, nil
}

// take drops the keys that come again.
func (s *ShardRefs) take(refs []pipeline.Ref) {
	s.Refs = slices.CompactFunc(refs, func(a, b pipeline.Ref) bool { return a.Key == b.Key })
	s.Duplicates = int64(len(refs) - len(s.Refs))
}

// open loads a partition, or splits it further while it is large and holds several shards.
func (p *Plan) open(t part) error {
	defer t.spool.drop(t.n)
	shardsWithin := p.shards >> (8 * (t.spool.level + 1))
	if t.spool.counts[t.n] > p.loadAtMost && shardsWithin > 1 {
		sub, err := newSpool(filepath.Join(t.spool.dir, fmt.Sprintf("%02x.d", t.n)), t.spool.level+1)
		if err != nil {
			return err
		}
		if err := errors.Join(t.spool.read(t.n, sub.add), sub.seal()); err != nil {
			sub.close()
			return err
		}
		p.push(sub)
		return nil
	}
	err := t.spool.read(t.n, func(r pipeline.Ref) error {
		p.pending = append(p.pending, r)
		return nil
	})
	if err != nil {
		return err
	}
	p.ready = p.takeComplete()
	return nil
}

// takeComplete sorts the pending refs by shard and key, and takes out those of shards of which no
// partition is still to come.
func (p *Plan) takeComplete() []pipeline.Ref {
	slices.SortStableFunc(p.pending, func(a, b pipeline.Ref) int {
		return cmp.Or(cmp.Compare(p.shardOf(a), p.shardOf(b)), cmp.Compare(a.Key, b.Key))
	})
	end := len(p.pending)
	if len(p.work) > 0 {
		last := p.shardOf(p.pending[end-1])
		end = sort.Search(end, func(i int) bool { return p.shardOf(p.pending[i]) == last })
	}
	complete := p.pending[:end:end]
	p.pending = slices.Clone(p.pending[end:])
	return complete
}

func (p *Plan) shardOf(r pipeline.Ref) int { return ShardOf(r.Key, p.shards) }
