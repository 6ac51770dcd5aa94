package metrics

import (
	"fmt"
	"math"

	"github.com/facet-search/facet/modulation/train/dnnl"
)

// block is how many queries are compared with the gallery in one matrix product.
const block = 64

// Retrieval adds up what searches for queries found.
type Retrieval struct {
	Queries    int // with a label
	Unlabelled int // queries without one, which are not searched for
	// Answerable are the queries of whose class the gallery holds an image; the others count as failures
	// of recall, and not at all for the mean average precision.
	Answerable int

	found1, found10 int
	precision       float64 // sum of average precisions
}

// Add adds what another part of the queries found.
func (r *Retrieval) Add(o Retrieval) {
	r.Queries += o.Queries
	r.Unlabelled += o.Unlabelled
	r.Answerable += o.Answerable
	r.found1 += o.found1
	r.found10 += o.found10
	r.precision += o.precision
}

// Recall1 is the share of labelled queries whose nearest neighbour is of their class: precision at 1,
// too. NaN without queries.
func (r *Retrieval) Recall1() float64 { return ratio(float64(r.found1), r.Queries) }

// Recall10 is the share of labelled queries with at least one image of their class among the ten nearest
// neighbours. NaN without queries.
func (r *Retrieval) Recall10() float64 { return ratio(float64(r.found10), r.Queries) }

// MAP is the mean over the answerable queries of the average precision: the mean, over the gallery's
// images of the query's class, of the share of that class among the neighbours up to that image. NaN
// where no query is answerable.
func (r *Retrieval) MAP() float64 { return ratio(r.precision, r.Answerable) }

func ratio(sum float64, n int) float64 {
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}

// Gallery is the images that queries are compared with, exactly.
type Gallery struct {
	Unlabelled int // images that were left out

	space   Space
	classes []int32 // of all rows
	rows    []int   // those in the gallery
	own     []int32 // their classes
	data    []float32
	size    map[int32]int // images a class
}

// NewGallery takes the labelled ones of rows. classes has one id for each row of the space.
func NewGallery(s Space, classes []int32, rows []int) (*Gallery, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if len(classes) != s.Len() {
		return nil, fmt.Errorf("metrics: %d classes for %d embeddings", len(classes), s.Len())
	}
	g := &Gallery{space: s, classes: classes, size: map[int32]int{}}
	for _, r := range rows {
		c := classes[r]
		if c < 0 {
			g.Unlabelled++
			continue
		}
		g.rows = append(g.rows, r)
		g.own = append(g.own, c)
		g.size[c]++
	}
	g.data = s.gather(g.rows, false)
	return g, nil
}

// Search ranks the whole gallery for each query, a row of the space. An image is not its own neighbour;
// of equally near ones, the first in the gallery is first. Several goroutines may search at once.
func (g *Gallery) Search(queries []int) (Retrieval, error) {
	var total Retrieval
	var labelled []int
	for _, q := range queries {
		if g.classes[q] < 0 {
			total.Unlabelled++
			continue
		}
		labelled = append(labelled, q)
	}
	total.Queries = len(labelled)
	n := len(g.rows)
	if n == 0 {
		return total, nil
	}
	scores := make([]float32, min(block, len(labelled))*n)
	r := newRanking(n)
	for lo := 0; lo < len(labelled); lo += block {
		part := labelled[lo:min(lo+block, len(labelled))]
		products := scores[:len(part)*n]
		if err := dnnl.Products(g.space.gather(part, true), g.data, products, g.space.width()); err != nil {
			return total, fmt.Errorf("metrics: %w", err)
		}
		for i, q := range part {
			g.judge(&total, q, r.order(products[i*n:(i+1)*n]))
		}
	}
	return total, nil
}

// judge goes through a query's neighbours, nearest first.
func (g *Gallery) judge(total *Retrieval, query int, order []uint64) {
	class := g.classes[query]
	rank, found, precision := 0, 0, 0.0
	for _, o := range order {
		i := uint32(o)
		if g.rows[i] == query {
			continue
		}
		rank++
		if g.own[i] != class {
			continue
		}
		if found++; found == 1 {
			total.first(rank)
		}
		precision += float64(found) / float64(rank)
	}
	if found > 0 {
		total.Answerable++
		total.precision += precision / float64(found)
	}
}

// first counts the rank of the first image of the right class.
func (r *Retrieval) first(rank int) {
	if rank <= 1 {
		r.found1++
	}
	if rank <= 10 {
		r.found10++
	}
}
