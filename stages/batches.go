package stages

import (
	"context"

	"github.com/facet-search/facet/pipeline"
)

// rideAlong bounds the items of a batch that the model has nothing to do with.
const rideAlong = 1024

// Batches groups items into batches of what the model can take at a time. Items that it has nothing to
// do with ride along and fill no place. A batch ends with its shard, so that a shard's vectors don't
// depend on its neighbours. It is a pipeline.Gatherer.
type Batches struct {
	Size  int // images a run of the model
	items []*pipeline.Item
	count [2]int // by need
}

// Gather implements pipeline.Gatherer.
func (b *Batches) Gather(_ context.Context, it *pipeline.Item) ([]*pipeline.Item, bool, error) {
	b.items = append(b.items, it)
	if it.Reject == nil && it.Need != pipeline.NeedNothing {
		b.count[it.Need]++
	}
	if !it.Last && max(b.count[0], b.count[1]) < b.Size && len(b.items) < rideAlong {
		return nil, false, nil
	}
	full := b.items
	b.items, b.count = nil, [2]int{}
	return full, true, nil
}
