package stages

import (
	"context"
	"errors"
	"fmt"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/imaging"
)

// Decode turns encoded bytes into the pixels of the model's input. It is a pipeline.Stage whose
// decoders, one a worker, keep their memory from image to image.
type Decode struct {
	decoders chan *imaging.Decoder
	size     int
	pixels   *Buffers
	data     *Buffers
}

// NewDecode makes a decoder for each of workers. Pixels are taken from their buffers, encoded bytes
// go back to theirs.
func NewDecode(p pipeline.Preprocess, l imaging.Limits, workers int, pixels, data *Buffers) (*Decode, error) {
	h, w := p.Output()
	s := &Decode{decoders: make(chan *imaging.Decoder, workers), size: 3 * h * w, pixels: pixels, data: data}
	for range workers {
		d, err := imaging.NewDecoder(p, l, imaging.Options{})
		if err != nil {
			return nil, fmt.Errorf("decoder: %w", err)
		}
		s.decoders <- d
	}
	return s, nil
}

// Process implements pipeline.Stage. The item's share of the budget ends here, whatever became of it.
func (s *Decode) Process(ctx context.Context, a *Admitted) (*pipeline.Item, error) {
	defer a.release()
	it := a.Item
	if it.Reject != nil || it.Need == pipeline.NeedNothing {
		return it, nil
	}
	var d *imaging.Decoder
	select {
	case d = <-s.decoders:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { s.decoders <- d }()
	pixels := s.pixels.Get(s.size)
	info, err := d.Decode(it.Data, pixels)
	s.data.Put(it.Data)
	it.Data = nil
	it.Width, it.Height = info.Width, info.Height
	if errors.As(err, &it.Reject) {
		s.pixels.Put(pixels)
		return it, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", it.Key, err)
	}
	it.Pixels = pixels
	return it, nil
}
