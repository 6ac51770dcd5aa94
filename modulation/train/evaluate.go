package train

import (
	"fmt"
	"math/rand/v2"

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

// Positions are triplets of positions in a list of images: anchor, positive, negative.
type Positions [][3]int32

// DrawTriplets draws n triplets a task among the listed images, in the same way as the paper trains on
// them. They depend on the seed alone.
func DrawTriplets(l *Labels, list []int32, n int, seed uint64) ([]Positions, error) {
	s, err := NewLabelled(l, list, Triplet, Batching{Balance: 1})
	if err != nil {
		return nil, fmt.Errorf("triplets: %w", err)
	}
	at := make(map[int32]int32, len(list))
	for i, image := range list {
		at[image] = int32(i)
	}
	rng := rand.New(rand.NewPCG(seed, 0x7a1d))
	out := make([]Positions, len(l.Tasks))
	for task := range out {
		rows := make([]int32, 3*n)
		s.Draw(rng, task, rows)
		for i := 0; i < len(rows); i += 3 {
			out[task] = append(out[task], [3]int32{at[rows[i]], at[rows[i+1]], at[rows[i+2]]})
		}
	}
	return out, nil
}

// TripletAccuracy is the share of triplets whose anchor is nearer to the positive than to the
// negative, by vectors [n, dim].
func TripletAccuracy(vectors []float32, dim int, triplets Positions) float64 {
	row := func(i int32) []float32 { return vectors[int(i)*dim : (int(i)+1)*dim] }
	right := 0
	for _, t := range triplets {
		if distance(row(t[0]), row(t[1])) < distance(row(t[0]), row(t[2])) {
			right++
		}
	}
	return float64(right) / float64(max(len(triplets), 1))
}

// NearestRight is the share of queries whose nearest vector of the gallery is of their class: queries
// and gallery are vectors [n, dim] with their classes; unlabelled ones take no part.
func NearestRight(queries []float32, asked []int32, gallery []float32, known []int32, dim int) float64 {
	right, all := 0, 0
	for q, class := range asked {
		if class == Missing {
			continue
		}
		all++
		if best := nearest(queries[q*dim:(q+1)*dim], gallery, known, dim); best >= 0 && known[best] == class {
			right++
		}
	}
	return float64(right) / float64(max(all, 1))
}

func nearest(query, gallery []float32, known []int32, dim int) int {
	best, at := float32(0), -1
	for i, class := range known {
		if class == Missing {
			continue
		}
		if d := distance(query, gallery[i*dim:(i+1)*dim]); at < 0 || d < best {
			best, at = d, i
		}
	}
	return at
}
