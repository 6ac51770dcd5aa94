package train

import (
	"fmt"

	"github.com/facet-search/facet/modulation/train/autodiff"
	"github.com/facet-search/facet/modulation/train/network"
)

// Embedder computes embeddings with a network's running statistics. It reads its parameters at every
// call, so that one embedder serves a whole run.
type Embedder struct {
	plan   *autodiff.Plan
	net    *network.Network
	batch  int
	tables *[3][256]float32
	images *Images
}

// NewEmbedder compiles the network for batches of so many images; Close frees it.
func NewEmbedder(net *network.Network, params *network.Params, images *Images, batch, threads int) (*Embedder, error) {
	if err := images.check(); err != nil {
		return nil, fmt.Errorf("embedder: %w", err)
	}
	if images.Shape != net.Image {
		return nil, fmt.Errorf("embedder: images of %v for a network of %v", images.Shape, net.Image)
	}
	plan, err := autodiff.Infer(net, params, autodiff.Options{Batch: batch, Threads: threads})
	if err != nil {
		return nil, fmt.Errorf("embedder: %w", err)
	}
	return &Embedder{plan, net, batch, images.tables(), images}, nil
}

// Close frees the embedder's memory.
func (e *Embedder) Close() { e.plan.Close() }

// Embed returns the vectors of the listed images for each task, [task][n·D].
func (e *Embedder) Embed(list []int32) ([][]float32, error) {
	dim, size := e.net.Dim(), e.net.Image.Size()
	out := make([][]float32, len(e.net.Tasks))
	for t := range out {
		out[t] = make([]float32, 0, len(list)*dim)
	}
	input := e.plan.Images()
	for lo := 0; lo < len(list); lo += e.batch {
		part := list[lo:min(lo+e.batch, len(list))]
		for i, image := range part {
			e.images.fill(input[i*size:(i+1)*size], int(image), view{}, e.tables)
		}
		if err := e.plan.Forward(); err != nil {
			return nil, fmt.Errorf("embed: %w", err)
		}
		for t := range out {
			out[t] = append(out[t], e.plan.Embeddings(t)[:len(part)*dim]...)
		}
	}
	return out, nil
}
