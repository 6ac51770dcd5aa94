package metrics

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

// line is points on a line under L2: distances can be read off.
func line(points ...float32) Space { return Space{Dim: 1, Metric: pipeline.L2, Data: points} }

func all(n int) (rows []int) {
	for i := range n {
		rows = append(rows, i)
	}
	return rows
}

const tolerance = 1e-12

func TestCloseness(t *testing.T) {
	data := []float32{3, 4, 0, 2, 0, 0}
	cosine := Space{Dim: 2, Metric: pipeline.Cosine, Data: data}
	if c := cosine.Closeness(0, 1); math.Abs(c-0.8) > tolerance {
		t.Errorf("cosine of (3,4) and (0,2) is %v, want 0.8", c)
	}
	if c := cosine.Closeness(0, 2); c != 0 {
		t.Errorf("cosine to a row of zeros is %v, want 0", c)
	}
	if d := (Space{Dim: 2, Metric: pipeline.L2, Data: data}).Closeness(0, 1); d != -13 {
		t.Errorf("minus squared distance of (3,4) and (0,2) is %v, want -13", d)
	}
}

// Points 0, 1, 3, 7, 15; a at 0, 3, 7 and b at 1, 15.
//
//	0 (a): 1b 3a 7a 15b  first a at 2; AP = (1/2 + 2/3)/2
//	1 (b): 0a 3a 7a 15b  first b at 4; AP = 1/4
//	3 (a): 1b 0a 7a 15b  first a at 2; AP = (1/2 + 2/3)/2
//	7 (a): 3a 1b 0a 15b  first a at 1; AP = (1/1 + 2/3)/2
//	15 (b): 7a 3a 1b 0a  first b at 3; AP = 1/3
func TestRetrievalByHand(t *testing.T) {
	classes := []int32{0, 1, 0, 0, 1}
	g, err := NewGallery(line(0, 1, 3, 7, 15), classes, all(5))
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.Search(all(5))
	if err != nil {
		t.Fatal(err)
	}
	want := (7.0/12 + 1.0/4 + 7.0/12 + 5.0/6 + 1.0/3) / 5
	if r.Queries != 5 || r.Answerable != 5 || r.Recall1() != 0.2 || r.Recall10() != 1 || math.Abs(r.MAP()-want) > tolerance {
		t.Errorf("%+v: recall@1 %v, recall@10 %v, mAP %v; want 0.2, 1, %v", r, r.Recall1(), r.Recall10(), r.MAP(), want)
	}
}

// The gallery is rows 0 to 3; row 1 has no label, so row 0's neighbours are 2 and 3. Row 4's class is not
// in the gallery, row 5 has no label.
func TestRetrievalSkipsWhatHasNoLabel(t *testing.T) {
	classes := []int32{0, -1, 0, 1, 7, -1}
	g, err := NewGallery(line(0, 1, 2, 4, 8, 16), classes, []int{0, 1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	r, err := g.Search([]int{0, 4, 5})
	if err != nil {
		t.Fatal(err)
	}
	if g.Unlabelled != 1 || r.Unlabelled != 1 || r.Queries != 2 || r.Answerable != 1 {
		t.Errorf("%d left out of the gallery; %+v", g.Unlabelled, r)
	}
	if r.Recall1() != 0.5 || r.Recall10() != 0.5 || r.MAP() != 1 {
		t.Errorf("recall@1 %v, recall@10 %v, mAP %v; want 0.5, 0.5, 1", r.Recall1(), r.Recall10(), r.MAP())
	}
	var none Retrieval
	if !math.IsNaN(none.Recall1()) || !math.IsNaN(none.MAP()) {
		t.Error("no queries have a recall")
	}
	empty, err := NewGallery(line(1, 2), []int32{-1, -1}, all(2))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := empty.Search(all(2)); err != nil || r.Unlabelled != 2 || r.Queries != 0 {
		t.Errorf("an empty gallery: %+v, %v", r, err)
	}
	if _, err := NewGallery(line(1, 2), []int32{0}, nil); err == nil {
		t.Error("two embeddings with one class were taken")
	}
}

// Eleven neighbours of other classes stand before the right one: found by neither recall.
func TestRecallLooksAtTen(t *testing.T) {
	for _, before := range []int{9, 10} {
		points, classes := []float32{0}, []int32{0}
		for i := range before {
			points, classes = append(points, float32(i+1)), append(classes, 1)
		}
		points, classes = append(points, 100), append(classes, 0)
		g, err := NewGallery(line(points...), classes, all(len(points)))
		if err != nil {
			t.Fatal(err)
		}
		r, err := g.Search([]int{0})
		if want := map[int]float64{9: 1, 10: 0}[before]; err != nil || r.Recall10() != want {
			t.Errorf("%d before the right one: recall@10 is %v, %v; want %v", before, r.Recall10(), err, want)
		}
	}
}

// The blocked product and the sort against the definition, for both metrics, with vectors that are not
// of unit length.
func TestRetrievalAgainstTheDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 0))
	const n, dim = 150, 5
	data, classes := make([]float32, n*dim), make([]int32, n)
	for i := range data {
		data[i] = float32(random.NormFloat64())
	}
	for i := range classes {
		classes[i] = int32(random.IntN(6)) - 1
	}
	for _, metric := range []pipeline.Metric{pipeline.Cosine, pipeline.L2} {
		s := Space{Dim: dim, Metric: metric, Data: data}
		g, err := NewGallery(s, classes, all(n))
		if err != nil {
			t.Fatal(err)
		}
		var got Retrieval
		for _, part := range [][]int{all(n)[:70], all(n)[70:]} {
			r, err := g.Search(part)
			if err != nil {
				t.Fatal(err)
			}
			got.Add(r)
		}
		found1, found10, sum := define(s, classes)
		if got.found1 != found1 || got.found10 != found10 || math.Abs(got.precision-sum) > 1e-9 {
			t.Errorf("%s: found %d and %d, sum %v; by definition %d and %d, sum %v", metric, got.found1, got.found10, got.precision, found1, found10, sum)
		}
	}
}

// define searches as the documentation says, one pair at a time.
func define(s Space, classes []int32) (found1, found10 int, sum float64) {
	for q := range s.Len() {
		var others []int
		for i := range s.Len() {
			if i != q && classes[i] >= 0 {
				others = append(others, i)
			}
		}
		slices.SortStableFunc(others, func(a, b int) int { return cmp.Compare(s.Closeness(q, b), s.Closeness(q, a)) })
		var hits, precision float64
		first := math.MaxInt
		for rank, o := range others {
			if classes[o] == classes[q] {
				hits++
				precision += hits / float64(rank+1)
				first = min(first, rank)
			}
		}
		if classes[q] < 0 {
			continue
		}
		if first < 1 {
			found1++
		}
		if first < 10 {
			found10++
		}
		sum += precision / hits
	}
	return found1, found10, sum
}

func TestOrder(t *testing.T) {
	inf := float32(math.Inf(1))
	scores := []float32{0, -1.5, 3, float32(math.Copysign(0, -1)), inf, 3, -inf, 1e-40}
	var got []int
	for _, o := range newRanking(len(scores)).order(scores) {
		got = append(got, int(uint32(o)))
	}
	if want := []int{4, 2, 5, 7, 0, 3, 1, 6}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}

func TestTriplets(t *testing.T) {
	s := line(0, 1, 3, 7)
	list := []Triplet{{0, 1, 2}, {2, 3, 1}, {1, 0, 3}, {0, 1, 1}} // the second is wrong, the last a tie
	if a := TripletAccuracy(s, list); a != 0.5 {
		t.Errorf("accuracy %v, want 0.5", a)
	}
	if a := TripletAccuracy(s, nil); !math.IsNaN(a) {
		t.Errorf("accuracy of no triplets is %v", a)
	}
}

func TestDrawTriplets(t *testing.T) {
	classes := []int32{0, 0, 1, 1, 1, 2, -1, 0}
	rows := []int{0, 1, 2, 3, 4, 5, 6} // without the last
	list, err := DrawTriplets(classes, rows, 4000, 1)
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[int32]int{}
	for _, l := range list {
		anchors[l.Anchor]++
		if l.Anchor == l.Near || classes[l.Anchor] != classes[l.Near] || classes[l.Far] < 0 || classes[l.Far] == classes[l.Anchor] || max(l.Anchor, l.Near, l.Far) == 7 {
			t.Fatalf("triplet %v of classes %v", l, classes)
		}
	}
	for a, n := range anchors { // uniform over the five images whose class has another
		if n < 700 || n > 900 {
			t.Errorf("image %d is the anchor of %d of 4000 triplets, want about 800", a, n)
		}
	}
	again, err := DrawTriplets(classes, rows, 4000, 1)
	if err != nil || !slices.Equal(list, again) {
		t.Errorf("the same seed drew other triplets (%v)", err)
	}
	for name, c := range map[string][]int32{"one class": {0, 0}, "single images": {0, 1, 2}, "no labels": {-1, -1}} {
		if _, err := DrawTriplets(c, all(len(c)), 1, 1); !errors.Is(err, ErrNoTriplets) {
			t.Errorf("%s: error %v, want ErrNoTriplets", name, err)
		}
	}
}

// go test ./modulation/metrics -run none -bench Search: 36,485 images of 128 numbers in 141 classes.
func BenchmarkSearch(b *testing.B) {
	const n, dim = 36485, 128
	s := Space{Dim: dim, Metric: pipeline.Cosine, Data: make([]float32, n*dim)}
	random := rand.New(rand.NewPCG(1, 0))
	classes := make([]int32, n)
	for i := range s.Data {
		s.Data[i] = random.Float32() - 0.5
	}
	for i := range classes {
		classes[i] = int32(random.IntN(141))
	}
	g, err := NewGallery(s, classes, all(n))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := g.Search(all(1024)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1024*float64(b.N)/b.Elapsed().Seconds(), "queries/s")
}
