package native

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

// TestKernels compares the distance kernels, ours and the library's, with loops in float64.
func TestKernels(t *testing.T) {
	ours := FastKernels(true)
	t.Logf("our kernels run here: %v", ours)
	defer FastKernels(true)
	r := rand.New(rand.NewPCG(1, 2))
	for d := range 300 {
		x, y := normal(r, d), normal(r, d)
		var dot, l2, norm, size float64
		for i := range d {
			a, b := float64(x[i]), float64(y[i])
			dot, l2, norm = dot+a*b, l2+(a-b)*(a-b), norm+a*a
			size += math.Abs(a * b)
		}
		for _, fast := range []bool{true, false} {
			FastKernels(fast)
			for _, c := range []struct {
				name      string
				got       float32
				want, tol float64
			}{
				{"inner product", InnerProduct(x, y), dot, 1e-6 * size},
				{"L2", L2Squared(x, y), l2, 1e-6 * l2},
				{"norm", NormSquared(x), norm, 1e-6 * norm},
			} {
				if math.Abs(float64(c.got)-c.want) > c.tol {
					t.Errorf("%s of %d numbers (ours: %v) is %v, want %v ± %v", c.name, d, fast, c.got, c.want, c.tol)
				}
			}
		}
	}
}

// TestKernelsAreInUse makes sure that the library's own objects call ours.
func TestKernelsAreInUse(t *testing.T) {
	if !FastKernels(true) {
		t.Log("this processor has no AVX2; the library's kernels are in use")
		return
	}
	defer FastKernels(true)
	x := normal(rand.New(rand.NewPCG(3, 4)), 101)
	query, stored := x, normal(rand.New(rand.NewPCG(5, 6)), 101)
	for _, fast := range []bool{true, false} {
		FastKernels(fast)
		index, err := New("HNSW8", 101, pipeline.L2)
		if err != nil {
			t.Fatal(err)
		}
		defer index.Close()
		if err := index.index.Add(stored); err != nil {
			t.Fatal(err)
		}
		d, _, err := index.Search(query, 1)
		if err != nil {
			t.Fatal(err)
		}
		if want := L2Squared(query, stored); d[0] != want {
			t.Errorf("ours %v: FAISS computes %v, the kernel %v", fast, d[0], want)
		}
	}
}

func TestErrorsHaveTheirMessages(t *testing.T) {
	if _, err := New("Nonsense", 8, pipeline.L2); err == nil || !strings.Contains(err.Error(), "could not parse index string Nonsense") {
		t.Errorf("New says %v", err)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("Read says %v", err)
	}
	index, err := New("IVF4,Flat", 8, pipeline.L2)
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	if err := index.Train(make([]float32, 8)); err == nil || !strings.Contains(err.Error(), "training points") {
		t.Errorf("Train says %v", err)
	}
	if err := index.Train(nil); err == nil {
		t.Error("Train takes nothing")
	}
	if err := index.Tune("nprobe"); err == nil {
		t.Error("Tune takes nprobe without a number")
	}
	if err := index.Tune("speed=11"); err == nil || !strings.Contains(err.Error(), "speed") {
		t.Errorf("Tune says %v", err)
	}
}

func TestExactAcrossBlocks(t *testing.T) {
	const dim, n, nq, k = 16, 3000, 30, 12
	r := rand.New(rand.NewPCG(7, 8))
	x, q := normal(r, n*dim), normal(r, nq*dim)
	copy(x[2000*dim:2100*dim], x[:100*dim]) // duplicates in another block
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(10 * (n - i))
	}
	for _, m := range []pipeline.Metric{pipeline.Cosine, pipeline.L2} {
		e := NewExact(q, dim, m, k)
		for at := 0; at < n; at += 700 {
			end := min(at+700, n)
			if err := e.Add(ids[at:end], x[at*dim:end*dim]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range nq {
			want := nearest(m, q[i*dim:(i+1)*dim], x, ids, k)
			for j := range k {
				if got := e.IDs[i*k+j]; got != want[j] {
					t.Fatalf("%s: neighbour %d of query %d is %d, want %d", m, j, i, got, want[j])
				}
			}
		}
	}
}

func nearest(m pipeline.Metric, q, x []float32, ids []int64, k int) []int64 {
	dim := len(q)
	better := func(a, b int) bool {
		da, db := L2Squared(q, x[a*dim:(a+1)*dim]), L2Squared(q, x[b*dim:(b+1)*dim])
		if m == pipeline.Cosine {
			da, db = -InnerProduct(q, x[a*dim:(a+1)*dim]), -InnerProduct(q, x[b*dim:(b+1)*dim])
		}
		return da < db || da == db && ids[a] < ids[b]
	}
	var best []int
	for i := range ids {
		at := len(best)
		for at > 0 && better(i, best[at-1]) {
			at--
		}
		best = append(best[:at], append([]int{i}, best[at:]...)...)
		best = best[:min(len(best), k)]
	}
	out := make([]int64, len(best))
	for i, b := range best {
		out[i] = ids[b]
	}
	return out
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// BenchmarkHNSW builds the graph of a gallery of 36,485 unit vectors on one thread, with our kernels
// and with the library's.
func BenchmarkHNSW(b *testing.B) {
	const n, dim = 36485, 128
	SetThreads(1)
	defer FastKernels(true)
	x, ids := gallery(n, dim)
	for _, c := range []struct {
		name string
		fast bool
	}{{"kernels=ours", true}, {"kernels=faiss", false}} {
		b.Run(c.name, func(b *testing.B) {
			FastKernels(c.fast)
			for b.Loop() {
				index, err := New("IDMap2,HNSW32", dim, pipeline.Cosine)
				if err != nil {
					b.Fatal(err)
				}
				if err := index.Add(ids, x); err != nil {
					b.Fatal(err)
				}
				index.Close()
			}
		})
	}
}

// gallery is unit vectors around 500 centres.
func gallery(n, dim int) ([]float32, []int64) {
	r := rand.New(rand.NewPCG(9, 10))
	centres := normal(r, 500*dim)
	x, ids := make([]float32, n*dim), make([]int64, n)
	for i := range n {
		v, c := x[i*dim:(i+1)*dim], centres[r.IntN(500)*dim:]
		for j := range v {
			v[j] = c[j] + 0.7*float32(r.NormFloat64())
		}
		norm := float32(math.Sqrt(float64(NormSquared(v))))
		for j := range v {
			v[j] /= norm
		}
		ids[i] = int64(i)
	}
	return x, ids
}
