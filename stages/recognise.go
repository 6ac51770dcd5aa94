package stages

import (
	"context"

	"github.com/facet-search/facet/pipeline"
)

// Contents finds images of an earlier night by what they hold. It is safe for several goroutines.
type Contents interface {
	// Find returns the row of the lowest id that has the content, or nil.
	Find(ctx context.Context, hash [32]byte) (*pipeline.Known, error)
}

// Recognise spares the model the images that it has seen: those under a new ETag or a new key whose
// bytes are an earlier night's. It stands behind fetch, and is a pipeline.Stage.
type Recognise struct {
	Contents Contents      // nil: nothing is recognised
	Need     pipeline.Need // what a known content needs all the same
	Buffers  *Buffers      // for the bytes that nobody decodes
}

// Process implements pipeline.Stage.
func (s Recognise) Process(ctx context.Context, it *Admitted) (*Admitted, error) {
	if it.Reject != nil || it.Data == nil {
		return it, nil
	}
	k, err := s.find(ctx, it.Item)
	if err != nil {
		return nil, err
	}
	if k == nil {
		it.Need = pipeline.NeedAll
		return it, nil
	}
	it.Settle(k)
	if it.Need = s.Need; it.Need == pipeline.NeedNothing {
		s.Buffers.Put(it.Data)
		it.Data = nil
	}
	return it, nil
}

// find prefers the item's own row: its vectors lie nearest.
func (s Recognise) find(ctx context.Context, it *pipeline.Item) (*pipeline.Known, error) {
	if s.Contents == nil {
		return nil, nil
	}
	if k := it.Known; k != nil && k.Reject == nil && k.ContentHash == it.ContentHash {
		return k, nil
	}
	return s.Contents.Find(ctx, it.ContentHash)
}
