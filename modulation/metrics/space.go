package metrics

import (
	"fmt"
	"math"

	"github.com/facet-search/facet/pipeline"
)

// Space is the embeddings of one task: row i is Data[i*Dim : (i+1)*Dim].
type Space struct {
	Dim    int
	Metric pipeline.Metric
	Data   []float32
}

// Check reports what is wrong with the space, or nil.
func (s Space) Check() error {
	if s.Dim < 1 || len(s.Data)%s.Dim != 0 {
		return fmt.Errorf("metrics: %d values in rows of %d", len(s.Data), s.Dim)
	}
	if s.Metric != pipeline.Cosine && s.Metric != pipeline.L2 {
		return fmt.Errorf("metrics: metric %q is not known", s.Metric)
	}
	return nil
}

// Len is the number of rows.
func (s Space) Len() int { return len(s.Data) / s.Dim }

// Row is one embedding.
func (s Space) Row(i int) []float32 { return s.Data[i*s.Dim : (i+1)*s.Dim] }

// Closeness is how much row a resembles row b, larger is nearer: the cosine, or minus the squared
// Euclidean distance. A row of zeros has a cosine of 0 to every other.
func (s Space) Closeness(a, b int) float64 {
	x, y := s.Row(a), s.Row(b)
	var xy, xx, yy, distance float64
	for i := range x {
		p, q := float64(x[i]), float64(y[i])
		xy += p * q
		xx += p * p
		yy += q * q
		distance += (p - q) * (p - q)
	}
	if s.Metric == pipeline.L2 {
		return -distance
	}
	if xx == 0 || yy == 0 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

// gather copies rows. For the cosine they are scaled to unit length; for L2 they get one more column,
// so that inner products order a query's neighbours as their distances do: q·g − |g|²/2 is largest
// where |q−g|² is smallest. That column is 1 in queries.
func (s Space) gather(rows []int, queries bool) []float32 {
	width := s.width()
	out := make([]float32, len(rows)*width)
	for i, r := range rows {
		to := out[i*width : (i+1)*width]
		copy(to, s.Row(r))
		var sum float64
		for _, v := range to {
			sum += float64(v) * float64(v)
		}
		switch {
		case s.Metric == pipeline.L2 && queries:
			to[s.Dim] = 1
		case s.Metric == pipeline.L2:
			to[s.Dim] = float32(-sum / 2)
		case sum > 0:
			scale(to, 1/math.Sqrt(sum))
		}
	}
	return out
}

// width is the length of a gathered row.
func (s Space) width() int {
	if s.Metric == pipeline.L2 {
		return s.Dim + 1
	}
	return s.Dim
}

func scale(v []float32, by float64) {
	for i := range v {
		v[i] = float32(float64(v[i]) * by)
	}
}
