package train

import (
	"fmt"
	"math"
)

// LossKind names a loss.
type LossKind string

// The losses.
const (
	// Triplet is the paper's: the mean over triplets of max(0, |a−p|² − |a−n|² + margin). The rows of a
	// batch are triplets: anchor, positive, negative.
	Triplet LossKind = "triplet"
	// SemiHard is FaceNet's (Schroff et al. 2015): for every pair of one class in the batch, the
	// negative that is nearest among those farther than the positive, or the farthest one where there
	// is none such; the mean over pairs.
	SemiHard LossKind = "semi-hard"
)

// Loss scores the embeddings of one task in a batch.
type Loss struct {
	Kind   LossKind
	Margin float64

	distances []float64 // [n, n], squared; used again by every batch
	weights   []float64 // [n, n]: the loss's derivative by each distance
}

// Compute returns the loss of embeddings [n, dim] and writes its gradient, times scale, to diff. The
// classes of the rows are only looked at by SemiHard; a class of -1 takes no part.
func (l *Loss) Compute(diff, emb []float32, dim int, classes []int32, scale float64) float64 {
	n := len(emb) / dim
	l.measure(emb, dim, n)
	clear(diff)
	var sum float64
	var pairs int
	if l.Kind == SemiHard {
		sum, pairs = l.semiHard(classes, n)
	} else {
		sum, pairs = l.triplets(n)
	}
	if pairs == 0 {
		return 0
	}
	l.spread(diff, emb, dim, n, scale/float64(pairs))
	return sum / float64(pairs)
}

// measure computes the squared distances of all rows to each other.
func (l *Loss) measure(emb []float32, dim, n int) {
	if len(l.distances) != n*n {
		l.distances, l.weights = make([]float64, n*n), make([]float64, n*n)
	}
	clear(l.weights)
	for i := range n {
		a := emb[i*dim : (i+1)*dim]
		for j := range i {
			d := float64(distance(a, emb[j*dim:(j+1)*dim]))
			l.distances[i*n+j], l.distances[j*n+i] = d, d
		}
	}
}

// distance is the squared Euclidean distance. Four sums that do not wait for each other.
func distance(a, b []float32) float32 {
	b = b[:len(a)]
	var s [4]float32
	i := 0
	for ; i+4 <= len(a); i += 4 {
		d0, d1, d2, d3 := a[i]-b[i], a[i+1]-b[i+1], a[i+2]-b[i+2], a[i+3]-b[i+3]
		s[0] += d0 * d0
		s[1] += d1 * d1
		s[2] += d2 * d2
		s[3] += d3 * d3
	}
	for ; i < len(a); i++ {
		s[0] += (a[i] - b[i]) * (a[i] - b[i])
	}
	return s[0] + s[1] + (s[2] + s[3])
}

func (l *Loss) triplets(n int) (sum float64, count int) {
	for i := 0; i+3 <= n; i += 3 {
		sum += l.hinge(i, i+1, i+2, n)
		count++
	}
	return sum, count
}

// hinge is the loss of one triplet of rows.
func (l *Loss) hinge(a, p, neg, n int) float64 {
	v := l.distances[a*n+p] - l.distances[a*n+neg] + l.Margin
	if v <= 0 {
		return 0
	}
	l.weights[a*n+p]++
	l.weights[a*n+neg]--
	return v
}

func (l *Loss) semiHard(classes []int32, n int) (sum float64, pairs int) {
	for a := range n {
		if classes[a] < 0 {
			continue
		}
		for p := range n {
			if p == a || classes[p] != classes[a] {
				continue
			}
			if neg := l.negative(a, p, classes, n); neg >= 0 {
				sum += l.hinge(a, p, neg, n)
				pairs++
			}
		}
	}
	return sum, pairs
}

// negative is the row to be told from a and p, or -1.
func (l *Loss) negative(a, p int, classes []int32, n int) int {
	row := l.distances[a*n : (a+1)*n]
	best, farthest := -1, -1
	for i, d := range row {
		if classes[i] < 0 || classes[i] == classes[a] {
			continue
		}
		if d > row[p] && (best < 0 || d < row[best]) {
			best = i
		}
		if farthest < 0 || d > row[farthest] {
			farthest = i
		}
	}
	if best < 0 {
		return farthest
	}
	return best
}

// spread turns the derivatives by distances into those by embeddings: ∂|x−y|²/∂x = 2(x−y).
func (l *Loss) spread(diff, emb []float32, dim, n int, scale float64) {
	for i := range n {
		x, dx := emb[i*dim:(i+1)*dim], diff[i*dim:(i+1)*dim]
		for j := range n {
			w := l.weights[i*n+j] + l.weights[j*n+i]
			if w == 0 || i == j {
				continue
			}
			f := float32(2 * w * scale)
			for k, v := range emb[j*dim : (j+1)*dim] {
				dx[k] += f * (x[k] - v)
			}
		}
	}
}

func (l LossKind) check() error {
	if l != Triplet && l != SemiHard {
		return fmt.Errorf("loss %q: want %s or %s", l, Triplet, SemiHard)
	}
	return nil
}

// finite reports whether a loss is a number that can be trained on.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
