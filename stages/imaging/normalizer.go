package imaging

import "github.com/facet-search/facet/pipeline"

// Normalizer turns pixels into a model's input. It is immutable; any number of goroutines may share it.
type Normalizer struct {
	table [3][256]float32 // by channel and pixel value
}

// NewNormalizer tabulates (p·Scale − Mean[c]) / Std[c] for every pixel value p. Each operation is rounded to
// float32, as NumPy and PyTorch round theirs. p·Scale alone is rounded from float64: for a Scale of
// 1/255 that equals p/255 in float32 for every p, which a product with float32(1/255) does not.
func NewNormalizer(p pipeline.Preprocess) *Normalizer {
	var n Normalizer
	for c := range n.table {
		mean, std := float32(p.Mean[c]), float32(p.Std[c])
		for v := range n.table[c] {
			scaled := float32(float64(v) * p.Scale)
			centred := float32(scaled - mean)
			n.table[c][v] = centred / std
		}
	}
	return &n
}

// Apply writes one image as planes: pixels is H×W×3, uint8, in the model's channel order, dst 3×H×W.
// It panics unless both have the same length.
func (n *Normalizer) Apply(dst []float32, pixels []byte) {
	if len(dst) != len(pixels) || len(dst)%3 != 0 {
		panic("imaging: Apply wants as many floats as pixel bytes, and three channels")
	}
	plane := len(dst) / 3
	d0, d1, d2 := dst[:plane], dst[plane:2*plane], dst[2*plane:3*plane]
	t0, t1, t2 := &n.table[0], &n.table[1], &n.table[2]
	for i := range d0 {
		p := pixels[3*i : 3*i+3 : 3*i+3]
		d0[i], d1[i], d2[i] = t0[p[0]], t1[p[1]], t2[p[2]]
	}
}
