package train

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestTripletLossByHand(t *testing.T) {
	// Distances: |a−p|² = 1, |a−n|² = 4 (satisfied); |a−p|² = 2, |a−n|² = 1 (violated by 1.2).
	emb := []float32{0, 0, 1, 0, 2, 0, 0, 0, 1, 1, 1, 0}
	diff := make([]float32, len(emb))
	l := &Loss{Kind: Triplet, Margin: 0.2}
	if v := l.Compute(diff, emb, 2, nil, 1); math.Abs(v-0.6) > 1e-6 {
		t.Errorf("loss %v, want 0.6", v)
	}
	// ½·∂(|a−p|² − |a−n|²): a: (n−p) = (0,−1), p: (p−a) = (1,1), n: −(n−a) = (−1,0).
	for i, want := range []float32{0, 0, 0, 0, 0, 0, 0, -1, 1, 1, -1, 0} {
		if math.Abs(float64(diff[i]-want)) > 1e-6 {
			t.Errorf("gradient %v", diff)
			break
		}
	}
}

func TestSemiHardChoosesNegatives(t *testing.T) {
	// On a line: anchor 0 and positive 2 of class 0; negatives at 1 (nearer), 3 and 5; one unlabelled.
	l := &Loss{Kind: SemiHard, Margin: 0.2}
	classes := []int32{0, 0, 1, 1, 1, Missing}
	emb := []float32{0, 2, 1, 3, 5, 2.1}
	l.measure(emb, 1, 6)
	if n := l.negative(0, 1, classes, 6); n != 3 {
		t.Errorf("negative %d, want 3: the nearest beyond the positive", n)
	}
	emb[3], emb[4] = 1.5, -1
	l.measure(emb, 1, 6)
	if n := l.negative(0, 1, classes, 6); n != 3 {
		t.Errorf("negative %d, want 3: the farthest, as none is beyond the positive", n)
	}
	diff := make([]float32, 6)
	if v := l.Compute(diff, emb, 1, []int32{0, 0, 0, 0, 0, Missing}, 1); v != 0 || diff[0] != 0 {
		t.Errorf("loss %v of one class", v)
	}
}

// TestLossGradients holds both losses' gradients against central differences.
func TestLossGradients(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	const n, dim, h = 9, 4, 1e-3
	emb := make([]float32, n*dim)
	for i := range emb {
		emb[i] = float32(rng.NormFloat64())
	}
	classes := []int32{0, 1, 0, 1, 2, 2, 0, Missing, 1}
	for _, kind := range []LossKind{Triplet, SemiHard} {
		l := &Loss{Kind: kind, Margin: 0.2}
		diff, none := make([]float32, n*dim), make([]float32, n*dim)
		l.Compute(diff, emb, dim, classes, 2)
		for i := range emb {
			old := emb[i]
			emb[i] = old + h
			up := l.Compute(none, emb, dim, classes, 1)
			emb[i] = old - h
			down := l.Compute(none, emb, dim, classes, 1)
			emb[i] = old
			if want := 2 * (up - down) / (2 * h); math.Abs(want-float64(diff[i])) > 2e-2 {
				t.Errorf("%s: gradient %d is %v, want %v", kind, i, diff[i], want)
			}
		}
	}
}
