package labelled

import (
	"context"
	"errors"
	"fmt"

	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages"
	"github.com/facet-search/facet/stages/imaging"
)

// Loader reads images of a gallery for training: decoded and resized as a model's preprocessing says.
type Loader struct {
	Images     store.Store
	Preprocess pipeline.Preprocess
	Cores      int
	Reject     float64 // share of the images that may be unreadable
}

// Limits of one image, as `facet index` has them by default.
var Limits = imaging.Limits{Bytes: 64 << 20, Pixels: 64e6, Scans: 100}

// fetches is how many objects are read at a time.
const fetches = 16

// Load reads the keys' images, [n, height, width, 3] bytes in the order of the keys that could be read;
// read says which of them these are. Too many unreadable ones are a sinks.ErrRejects.
func (l *Loader) Load(ctx context.Context, keys []string, p *progress.Progress) (pixels []byte, read []int, err error) {
	h, w := l.Preprocess.Output()
	buffers, data := &stages.Buffers{}, &stages.Buffers{}
	decode, err := stages.NewDecode(l.Preprocess, Limits, l.Cores, buffers, data)
	if err != nil {
		return nil, nil, err
	}
	into := &slab{
		pixels: make([]byte, 0, len(keys)*3*h*w), buffers: buffers, limit: int(l.Reject * float64(len(keys))), progress: p,
	}
	items := make([]*pipeline.Item, len(keys))
	for i, k := range keys {
		items[i] = &pipeline.Item{ID: int64(i), Ref: pipeline.Ref{Key: k, Size: -1}}
	}
	budget := stages.NewBudget(fetches*Limits.Bytes, Limits.Bytes)
	p.Start("load", int64(len(keys)))
	f := pipeline.NewFlow(ctx)
	admitted := pipeline.Through(f, "admit", pipeline.From(f, pipeline.Slice(items)), stages.Admit{Budget: budget}, 1)
	fetched := pipeline.Through(f, "fetch", admitted, stages.NewFetch(Objects{l.Images}, Limits.Bytes, data), fetches)
	pipeline.Into(f, pipeline.Through(f, "decode", fetched, decode, l.Cores), into)
	if err := f.Commit(ctx, into); err != nil {
		return nil, nil, err
	}
	p.Finish()
	return into.pixels, into.read, nil
}

// slab is the sink that puts images side by side.
type slab struct {
	pixels   []byte
	read     []int
	buffers  *stages.Buffers
	rejected int
	limit    int
	progress *progress.Progress
}

// Write implements pipeline.Sink.
func (s *slab) Write(_ context.Context, it *pipeline.Item) error {
	n := progress.Count{Items: 1, Bytes: max(it.Size, 0)}
	if it.Reject != nil {
		n.Rejects, s.rejected = 1, s.rejected+1
		if s.rejected > s.limit {
			return fmt.Errorf("%w: %d of at most %d; the last is %q: %w", sinks.ErrRejects, s.rejected, s.limit, it.Key, it.Reject)
		}
	} else {
		s.pixels = append(s.pixels, it.Pixels...)
		s.read = append(s.read, int(it.ID))
		s.buffers.Put(it.Pixels)
	}
	s.progress.Add(n)
	return nil
}

// Commit implements pipeline.Committer.
func (s *slab) Commit(context.Context) error { return nil }

// Objects reads the gallery for the fetch stage.
type Objects struct{ store.Store }

// ReadObject implements stages.Objects.
func (o Objects) ReadObject(ctx context.Context, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	data, ref, err := store.ReadObject(ctx, o.Store, key, buf, limit)
	if errors.Is(err, store.ErrTooLarge) {
		err = fmt.Errorf("%w: %w", stages.ErrTooLarge, err)
	}
	return data, ref, err
}
