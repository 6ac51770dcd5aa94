package faiss

import (
	"testing"

	"github.com/facet-search/facet/sinks/faiss/internal/native"
)

func TestRecallCountsTies(t *testing.T) {
	exact := &native.Exact{
		K:         5,
		IDs:       []int64{1, 2, 3, 4, 5 /**/, 7, 8, -1, -1, -1},
		Distances: []float32{0.9, 0.8, 0.7, 0.7, 0.1 /**/, 0.9, 0.5, 0, 0, 0},
	}
	for _, c := range []struct {
		name  string
		found []int64 // three a query
		first int
		of    int
		want  float64
	}{
		{"all", []int64{1, 2, 3 /**/, 7, 8, -1}, 3, 2, 1},
		{"a tie with the third", []int64{4, 2, 1 /**/, 7, 8, -1}, 3, 3, 5. / 6},
		{"four good ones are three", []int64{1, 3, 4 /**/, 9, 9, 9}, 3, 2, 1. / 4},
		{"only the first counts", []int64{9, 1, 2 /**/, 7, 9, 9}, 1, 1, 1. / 2},
		{"none", []int64{-1, -1, -1, -1, -1, -1}, 3, 2, 0},
	} {
		if got := recall(exact, c.found, 3, c.first, c.of); got != c.want {
			t.Errorf("%s: recall is %v, want %v", c.name, got, c.want)
		}
	}
}
