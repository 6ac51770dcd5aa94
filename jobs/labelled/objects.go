package labelled

import (
	"context"
	"errors"
	"fmt"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
	"github.com/facet-search/facet/stages/imaging"
)

// Limits of one image, as `facet index` has them by default.
var Limits = imaging.Limits{Bytes: 64 << 20, Pixels: 64e6, Scans: 100}

// Objects reads a gallery for the fetch stage.
type Objects struct{ store.Store }

// ReadObject implements stages.Objects.
func (o Objects) ReadObject(ctx context.Context, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	data, ref, err := store.ReadObject(ctx, o.Store, key, buf, limit)
	if errors.Is(err, store.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", stages.ErrTooLarge, err)
	}
	return data, ref, err
}

// ItemsOf numbers the items by their rows.
func ItemsOf(keys []string, rows []int) []*pipeline.Item {
	items := make([]*pipeline.Item, len(rows))
	for i, r := range rows {
		items[i] = &pipeline.Item{ID: int64(r), Ref: pipeline.Ref{Key: keys[r], Size: -1}}
	}
	return items
}
