package gate

import (
	"math"
	"slices"

	"github.com/facet-search/facet/sinks/faiss"
)

// leastSample is the number of images below which drift is not judged: chance alone moves the mean of
// fewer by more than any useful limit.
const leastSample = 30

// Drift is how far a task's vectors moved from one snapshot to the next.
type Drift struct {
	Task       string  `json:"task"`
	Queries    int     `json:"queries"`    // unchanged images that were searched for; 0: there are too few
	Neighbours float64 `json:"neighbours"` // the share of their 10 neighbours in the first that the second finds too
	Vectors    int     `json:"vectors"`    // the fewer of both snapshots' that the figures below are of; 0: too few
	// Centroid is the distance between the mean vectors in units of the first's mean length.
	Centroid float64 `json:"centroid"`
	Norm     float64 `json:"norm"` // relative change of the mean length
	// SameModel tells whether the same network and preprocessing made both. A network that was trained
	// again may turn its space, and then means can't be compared.
	SameModel bool `json:"same_model"`
	// Spread is that of the second's vectors, see Moments; of Sampled ones, 0: too few different images.
	Spread   float64 `json:"spread"`
	Sampled  int     `json:"sampled"`
	Obstacle string  `json:"obstacle,omitempty"` // why the first snapshot could not be compared with
}

// Moments sums up vectors: their number, sum, and sums of lengths and of squared lengths.
type Moments struct {
	N       int
	Sum     []float64
	Lengths float64
	Squares float64
}

// Add takes vectors of the given dimension in.
func (m *Moments) Add(data []float32, dim int) {
	if m.Sum == nil {
		m.Sum = make([]float64, dim)
	}
	for v := range slices.Chunk(data, dim) {
		square := 0.0
		for i, x := range v {
			m.Sum[i] += float64(x)
			square += float64(x) * float64(x)
		}
		m.N++
		m.Lengths += math.Sqrt(square)
		m.Squares += square
	}
}

// Length is the vectors' mean length.
func (m Moments) Length() float64 { return m.Lengths / float64(m.N) }

// Spread is the share of the mean square that lies about the mean vector: 0 when all vectors are the
// same, 1 when they cancel out.
func (m Moments) Spread() float64 {
	n, square := float64(m.N), 0.0
	for _, s := range m.Sum {
		square += s / n * s / n
	}
	if m.Squares == 0 {
		return 0
	}
	return max(0, 1-square*n/m.Squares)
}

// compare fills in the figures about means. Both hold vectors of one dimension.
func (d *Drift) compare(was, is Moments) {
	d.Vectors = min(was.N, is.N)
	if d.Vectors < leastSample || len(was.Sum) != len(is.Sum) {
		d.Vectors = 0
		return
	}
	square := 0.0
	for i := range was.Sum {
		x := is.Sum[i]/float64(is.N) - was.Sum[i]/float64(was.N)
		square += x * x
	}
	d.Centroid = math.Sqrt(square) / was.Length()
	d.Norm = math.Abs(is.Length()/was.Length() - 1)
}

const (
	// neighbours that are compared.
	neighbours = 10
	// searched neighbours leave room for the query itself, for images that only one snapshot has, and
	// for those as near as the tenth.
	searched = 64
	// tie is relative: distances this close are the same.
	tie = 1e-6
)

// found is what an index answers to one query, nearest first.
type found struct {
	query int64
	hits  []faiss.Hit
}

// among keeps the hits that both snapshots have, without the query itself.
func (f found) among(both func(int64) bool) []faiss.Hit {
	var kept []faiss.Hit
	for _, h := range f.hits {
		if h.ID != f.query && both(h.ID) {
			kept = append(kept, h)
		}
	}
	return kept
}

// kept is the share of a query's nearest neighbours that are found again. Where several are as near as
// the tenth, any of them will do.
func kept(was, is []faiss.Hit) float64 {
	of := min(neighbours, max(len(was), len(is)))
	if of == 0 {
		return 1
	}
	good := map[int64]bool{}
	for i, h := range was {
		if i >= neighbours && !tied(h.Distance, was[neighbours-1].Distance) {
			break
		}
		good[h.ID] = true
	}
	n := 0
	for _, h := range is[:min(neighbours, len(is))] {
		if good[h.ID] {
			n++
		}
	}
	return float64(n) / float64(of)
}

func tied(a, b float32) bool {
	return math.Abs(float64(a)-float64(b)) <= tie*max(1e-12, math.Abs(float64(b)))
}
