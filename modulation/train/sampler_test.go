package train

import (
	"math"
	"math/rand/v2"
	"testing"
)

func labelsOf(classes ...int32) *Labels {
	return &Labels{Tasks: []string{"t"}, Classes: [][]int32{classes}}
}

func everyImage(n int) (list []int32) {
	for i := range n {
		list = append(list, int32(i))
	}
	return list
}

func TestTripletsAreTriplets(t *testing.T) {
	l := labelsOf(0, 0, 1, Missing, 2, 1, 0, 1, 3)
	among := []int32{0, 1, 2, 3, 4, 5, 6, 8} // 7 is of another split
	s, err := NewLabelled(l, among, Triplet, Batching{Balance: 1})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	anchors, negatives := map[int32]int{}, map[int32]int{}
	rows := make([]int32, 3000)
	s.Draw(rng, 0, rows)
	for i := 0; i < len(rows); i += 3 {
		a, p, n := rows[i], rows[i+1], rows[i+2]
		c := l.Classes[0]
		if a == p || c[a] != c[p] || c[a] == c[n] || c[n] == Missing || a == 7 || p == 7 || n == 7 {
			t.Fatalf("triplet %d %d %d", a, p, n)
		}
		anchors[a]++
		negatives[n]++
	}
	for _, i := range []int32{0, 1, 2, 5, 6} { // five possible anchors, 1,000 triplets
		if anchors[i] < 140 || anchors[i] > 260 {
			t.Errorf("image %d is the anchor of %d of 1000 triplets", i, anchors[i])
		}
	}
	if negatives[4] == 0 || negatives[8] == 0 {
		t.Error("classes of one image are never negatives")
	}
}

func TestGroupsHoldOneClassEach(t *testing.T) {
	classes := make([]int32, 100)
	for i := range classes {
		switch {
		case i < 80:
			classes[i] = 0
		case i < 95:
			classes[i] = 1
		default:
			classes[i] = Missing
		}
	}
	l := labelsOf(classes...)
	for _, balance := range []float64{0, 1} {
		s, err := NewLabelled(l, everyImage(100), SemiHard, Batching{Group: 4, Balance: balance})
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(1, 1))
		ofFirst, rows := 0, make([]int32, 10)
		for range 1000 {
			s.Draw(rng, 0, rows)
			seen := map[int32]bool{}
			for g := 0; g < 10; g += 4 {
				for _, r := range rows[g:min(g+4, 10)] {
					if classes[r] != classes[rows[g]] {
						t.Fatalf("rows %v", rows)
					}
				}
				seen[classes[rows[g]]] = true
			}
			if len(seen) < 2 {
				t.Fatalf("rows %v are of one class", rows)
			}
			if classes[rows[0]] == 0 {
				ofFirst++
			}
		}
		want := 1000 * map[float64]float64{0: 0.5, 1: 80.0 / 95}[balance]
		if math.Abs(float64(ofFirst)-want) > 50 {
			t.Errorf("balance %v: class 0 first in %d of 1000, want %.0f", balance, ofFirst, want)
		}
	}
}

func TestSamplerRefuses(t *testing.T) {
	for name, classes := range map[string][]int32{
		"none": {}, "one class": {1, 1, 1}, "all different": {0, 1, 2}, "unlabelled": {Missing, Missing, Missing},
	} {
		if _, err := NewLabelled(labelsOf(classes...), everyImage(len(classes)), Triplet, Batching{Balance: 1}); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := NewLabelled(labelsOf(0, 0, 1), []int32{0, 3}, Triplet, Batching{}); err == nil {
		t.Error("an image that is not there is taken")
	}
	for _, l := range []Lists{{{}}, {{{0, 1, 9}}}, {{{-1, 0, 1}}}} {
		if err := l.Check(3); err == nil {
			t.Errorf("triplets %v are taken", l)
		}
	}
}

func TestListsAreDrawn(t *testing.T) {
	l := Lists{{{0, 1, 2}, {3, 4, 5}}}
	if err := l.Check(6); err != nil {
		t.Fatal(err)
	}
	rows := make([]int32, 30)
	l.Draw(rand.New(rand.NewPCG(1, 1)), 0, rows)
	for i := 0; i < 30; i += 3 {
		if rows[i]%3 != 0 || rows[i+1] != rows[i]+1 || rows[i+2] != rows[i]+2 {
			t.Fatalf("rows %v", rows)
		}
	}
}
