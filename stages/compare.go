package stages

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/facet-search/facet/pipeline"
)

// Parent is the snapshot that a listing is compared with. It is safe for several goroutines.
type Parent interface {
	// Known returns everything that a shard holds, by key, and the first sequence that no key of it has
	// ever had. The map is the caller's.
	Known(ctx context.Context, shard int) (known map[string]*pipeline.Known, next int64, err error)
}

// Work says what a shard takes to become part of the new snapshot.
type Work int

const (
	Keep     Work = iota // nothing: its files are named again
	Describe             // the items are written again, the embeddings are named again
	Rebuild              // items and embeddings are written again
)

// ShardDelta is how a shard differs from the parent's.
type ShardDelta struct {
	Number   int
	Items    []*pipeline.Item // in the order of ids; none is left if all keys are gone
	Work     Work
	Next     int64 // the first sequence that no key of the shard has had
	Listed   int64
	New      int64
	Deleted  int64
	Doubled  int64 // keys that were listed again
	Unlisted bool  // at least one ref came without an ETag, so the listing does not say which content it is
}

// Digest hashes all that the shard's items are.
func (d *ShardDelta) Digest(h io.Writer) error {
	var b []byte
	for _, it := range d.Items {
		b = appendItem(b[:0], it)
		if _, err := h.Write(b); err != nil {
			return fmt.Errorf("digest shard %d: %w", d.Number, err)
		}
	}
	return nil
}

// Rules say what of the parent may be used again; the zero value says that nothing but ids.
type Rules struct {
	Trust      bool                       // what is unchanged in the listing is taken to be unchanged
	Need       pipeline.Need              // what an image that the parent knows needs all the same: tasks of another digest
	Rewrite    bool                       // every file is to be written again, since another format wants it
	Attributes bool                       // the refs have the columns of the parent's items
	Retry      func(pipeline.Reason) bool // rejects to try again, though they are unchanged; nil for none
	Distrust   func(shard int) bool       // the parent has lost files of the shard: all of it is made again; nil for none
}

// Compare finds what differs between the refs of a shard and what the parent holds of it, and gives
// every key its id: the one it was allotted before, or a new one in the order of keys. It is a
// pipeline.Stage.
type Compare struct {
	Parent Parent // nil before the first snapshot
	Rules  Rules
}

// Process implements pipeline.Stage.
func (c Compare) Process(ctx context.Context, s *ShardRefs) (*ShardDelta, error) {
	d := &ShardDelta{Number: s.Number, Listed: int64(len(s.Refs)), Doubled: s.Duplicates}
	known := map[string]*pipeline.Known{}
	if c.Parent != nil {
		var err error
		if known, d.Next, err = c.Parent.Known(ctx, s.Number); err != nil {
			return nil, fmt.Errorf("shard %d of the parent: %w", s.Number, err)
		}
	}
	distrust := c.Rules.Distrust != nil && c.Rules.Distrust(s.Number)
	if distrust {
		d.raise(Rebuild)
	}
	for _, r := range s.Refs {
		it := &pipeline.Item{ID: int64(s.Number)<<pipeline.ShardShift | d.Next, Ref: r}
		if k := known[r.Key]; k != nil {
			it.ID = k.ID
			delete(known, r.Key)
			d.raise(c.inherit(it, k, distrust))
		} else {
			d.Next++
			d.New++
			d.raise(Rebuild)
		}
		d.Unlisted = d.Unlisted || r.ETag == ""
		d.Items = append(d.Items, it)
	}
	d.Deleted = int64(len(known))
	for k := range maps.Values(known) {
		if k.Reject == nil { // another image in quarantine changes no file of the shard
			d.raise(Rebuild)
		}
	}
	switch {
	case c.Rules.Rewrite:
		d.raise(Rebuild)
	case !c.Rules.Attributes:
		d.raise(Describe)
	}
	slices.SortFunc(d.Items, func(a, b *pipeline.Item) int { return cmp.Compare(a.ID, b.ID) })
	if n := len(d.Items); n > 0 {
		d.Items[n-1].Last = true
	}
	return d, nil
}

func (d *ShardDelta) raise(w Work) { d.Work = max(d.Work, w) }

// inherit settles what an item takes over from what is known of its key, and what its shard has to do
// because of it.
func (c Compare) inherit(it *pipeline.Item, k *pipeline.Known, distrust bool) Work {
	if distrust && k.Reject == nil {
		return Rebuild
	}
	it.Known = k
	if !c.Rules.Trust || !unchanged(it.Ref, k) {
		return Rebuild
	}
	if k.Reject != nil {
		if c.Rules.Retry != nil && c.Rules.Retry(k.Reject.Reason) {
			return Rebuild
		}
		it.Reject = k.Reject
		it.Size = k.Size
		return Keep
	}
	if it.Need = c.Rules.Need; it.Need != pipeline.NeedNothing {
		return Rebuild
	}
	it.Settle(k)
	it.Size = k.Size
	if !sameAttributes(it.Attributes, k.Attributes) {
		return Describe
	}
	return Keep
}

// unchanged tells whether a listing vouches that an object is the one that is known. Without an ETag it
// does not.
func unchanged(r pipeline.Ref, k *pipeline.Known) bool {
	return r.ETag != "" && r.ETag == k.ETag && (r.Size < 0 || r.Size == k.Size)
}

// text is what a table can hold of a string.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func sameAttributes(listed, known []string) bool {
	for i := range max(len(listed), len(known)) {
		var a, b string
		if i < len(listed) {
			a = listed[i]
		}
		if i < len(known) {
			b = known[i]
		}
		if text(a) != b {
			return false
		}
	}
	return true
}
