package native

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/facet-search/facet/pipeline"
)

func TestTmp(t *testing.T) {
	SetThreads(1)
	const n, d = 36485, 128
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, n*d)
	cent := make([]float32, 200*d)
	for i := range cent {
		cent[i] = float32(r.NormFloat64())
	}
	for i := range n {
		c := r.IntN(200)
		var s float64
		for j := range d {
			v := float64(cent[c*d+j]) + 0.7*r.NormFloat64()
			x[i*d+j] = float32(v)
			s += v * v
		}
		for j := range d {
			x[i*d+j] /= float32(1)
		}
		_ = s
	}
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i)
	}
	for _, fast := range []bool{true, false} {
		FastKernels(fast)
		idx, err := New("IDMap2,HNSW32", d, pipeline.Cosine)
		if err != nil {
			t.Fatal(err)
		}
		t0 := time.Now()
		if err := idx.Add(ids, x); err != nil {
			t.Fatal(err)
		}
		t.Log(fast, time.Since(t0), idx.Describe())
	}
}
