package stages

import (
	"context"
	"io"
	"math/bits"
	"slices"

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
		if err == io.EOF { //nolint:errorlint // a network error may wrap an io.EOF and is no end
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
