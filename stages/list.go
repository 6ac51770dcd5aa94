package stages

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"path/filepath"
	"slices"
	"sort"

	"github.com/facet-search/facet/pipeline"
)

// MaxShards bounds the number of shards: 65,536 shards of 16,384 images are a gallery of 10⁹.
const MaxShards = 1 << 16

// ShardOf places a key: the top bits of its XXH64, for a power of two of shards. It is part of the
// published format, since an item's shard is the high part of its id.
func ShardOf(key string, shards int) int {
	return int(keyHash(key) >> (64 - bits.TrailingZeros(uint(shards))))
}

// Listing is a gallery's whole list of refs, on local disk and in no order yet. It is drained once
// before anything else, because the number of shards, the share of rejects and the progress all
// want to know how many there are.
type Listing struct {
	spool     *spool
	count     int64
	bytes     int64
	histogram []uint32 // refs by the top 16 bits of the hash
}

// List drains a source into dir, which is created and belongs to the listing. progress is called now
// and then with the number of refs so far.
func List(ctx context.Context, src pipeline.Source[pipeline.Ref], dir string, progress func(int64)) (*Listing, error) {
	sp, err := newSpool(dir, 0)
	if err != nil {
		return nil, err
	}
	l := &Listing{spool: sp, histogram: make([]uint32, MaxShards)}
	for {
		r, err := src.Next(ctx)
		if err == io.EOF { // itself: a network error may wrap an io.EOF and is no end
			break
		}
		if err == nil {
			err = sp.add(r)
		}
		if err != nil {
			l.Close()
			return nil, err
		}
		l.count++
		l.bytes += max(r.Size, 0)
		l.histogram[keyHash(r.Key)>>48]++
		if l.count%4096 == 0 && progress != nil {
			progress(l.count)
		}
	}
	if err := sp.seal(); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Count is the number of refs listed, a key that was listed twice counted twice.
func (l *Listing) Count() int64 { return l.count }

// Bytes is the sum of the sizes that the listing knows.
func (l *Listing) Bytes() int64 { return l.bytes }

// Shards is the smallest power of two of shards, none of which holds more than size refs.
func (l *Listing) Shards(size int) int {
	for n := 1; n < MaxShards; n *= 2 {
		if l.largest(n) <= int64(size) {
			return n
		}
	}
	return MaxShards
}

func (l *Listing) largest(shards int) int64 {
	var most int64
	for part := range slices.Chunk(l.histogram, MaxShards/shards) {
		var n int64
		for _, c := range part {
			n += int64(c)
		}
		most = max(most, n)
	}
	return most
}

// Close removes the listing from disk.
func (l *Listing) Close() { l.spool.close() }

// loadAtMost is how many refs are brought into memory at a time, unless one shard holds more.
const loadAtMost = 1 << 17

// Plan turns a listing into items in the order of shards and, within a shard, of ids: the order of
// every file that is published. It is a Source, used once.
type Plan struct {
	shards     int
	loadAtMost int64 // see the constant
	work       []part
	pending    []pipeline.Ref // loaded, of shards that may not be complete yet
	ready      []*pipeline.Item
	duplicates int64
	added      int64 // keys that had no id
	allotted   Allotted
	next       []int64 // the sequence that each shard allots next
}

// part is one partition of a spool that is still to be read.
type part struct {
	spool *spool
	n     int
}

// Allotted knows the ids that keys were given by earlier snapshots.
type Allotted interface {
	// NextSequences is, for each shard, the first sequence that no key has ever had.
	NextSequences() []int64
	// IDs returns the ids of a shard's keys. Shards are asked for in ascending order, each once.
	IDs(ctx context.Context, shard int) (map[string]int64, error)
}

// NewPlan plans a snapshot. A key keeps the id that it was allotted before; new keys get theirs in
// the order of keys. allotted is nil for a first snapshot.
func NewPlan(l *Listing, shards int, allotted Allotted) *Plan {
	p := &Plan{shards: shards, loadAtMost: loadAtMost, next: make([]int64, shards), allotted: allotted}
	if allotted != nil {
		copy(p.next, allotted.NextSequences())
	}
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

// Duplicates is how often a key was listed again; the first one listed counts.
func (p *Plan) Duplicates() int64 { return p.duplicates }

// New counts the keys that were not in the snapshot that allotted the ids.
func (p *Plan) New() int64 { return p.added }

// NextSequences is, for each shard, the first sequence that no key has had.
func (p *Plan) NextSequences() []int64 { return p.next }

// Next implements pipeline.Source.
func (p *Plan) Next(ctx context.Context) (*pipeline.Item, error) {
	// Two items are needed to know whether the first is the last of its shard.
	for len(p.ready) < 2 && len(p.work) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		top := p.work[len(p.work)-1]
		p.work = p.work[:len(p.work)-1]
		if err := p.open(ctx, top); err != nil {
			return nil, err
		}
	}
	if len(p.ready) == 0 {
		return nil, io.EOF
	}
	it := p.ready[0]
	p.ready = p.ready[1:]
	it.Last = len(p.ready) == 0 || p.ready[0].Shard() != it.Shard()
	return it, nil
}

// open loads a partition, or splits it further while it is large and holds several shards.
func (p *Plan) open(ctx context.Context, t part) error {
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
	for refs := p.takeComplete(); len(refs) > 0; {
		shard := p.shardOf(refs[0])
		end := sort.Search(len(refs), func(i int) bool { return p.shardOf(refs[i]) > shard })
		if err := p.allot(ctx, shard, refs[:end]); err != nil {
			return err
		}
		refs = refs[end:]
	}
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

// allot gives their ids to the refs of one shard, which are all there and in the order of keys.
func (p *Plan) allot(ctx context.Context, shard int, refs []pipeline.Ref) error {
	var known map[string]int64
	if p.allotted != nil {
		var err error
		if known, err = p.allotted.IDs(ctx, shard); err != nil {
			return fmt.Errorf("ids of shard %d: %w", shard, err)
		}
	}
	first := len(p.ready)
	for i, r := range refs {
		if i > 0 && refs[i-1].Key == r.Key {
			p.duplicates++
			continue
		}
		id, ok := known[r.Key]
		if !ok {
			id = int64(shard)<<pipeline.ShardShift | p.next[shard]
			p.next[shard]++
			p.added++
		}
		p.ready = append(p.ready, &pipeline.Item{ID: id, Ref: r})
	}
	slices.SortFunc(p.ready[first:], func(a, b *pipeline.Item) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}
