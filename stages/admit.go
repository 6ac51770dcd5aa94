package stages

import (
	"context"

	"golang.org/x/sync/semaphore"

	"github.com/facet-search/facet/pipeline"
)

// Budget bounds the bytes of encoded images that are between fetch and decode at any time.
type Budget struct {
	total   int64
	largest int64 // what an image of unknown size is taken for
	sem     *semaphore.Weighted
}

// NewBudget allows total bytes in flight, and at least one image of the largest size.
func NewBudget(total, largest int64) *Budget {
	total = max(total, largest)
	return &Budget{total: total, largest: largest, sem: semaphore.NewWeighted(total)}
}

func (b *Budget) cost(it *pipeline.Item) int64 {
	if it.Reject != nil || it.Need == pipeline.NeedNothing {
		return 0 // not fetched
	}
	if it.Size < 0 || it.Size > b.largest {
		return b.largest // fetch reads no more than this of any image
	}
	return it.Size
}

// Admit waits until an item's bytes fit into the budget. It must be run by one worker: items then
// get their share in the order in which the ordered stages behind it let them go, so that no item
// waits for one behind it.
type Admit struct{ Budget *Budget }

// Process implements pipeline.Stage.
func (a Admit) Process(ctx context.Context, it *pipeline.Item) (*Admitted, error) {
	n := a.Budget.cost(it)
	if err := a.Budget.sem.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return &Admitted{Item: it, release: func() { a.Budget.sem.Release(n) }}, nil
}

// Admitted is an item that holds a share of the budget until its bytes are decoded.
type Admitted struct {
	*pipeline.Item
	release func()
}
