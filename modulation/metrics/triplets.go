package metrics

import (
	"errors"
	"math"
	"math/rand/v2"
)

// Triplet says that the anchor resembles Near more than Far. They are rows.
type Triplet struct{ Anchor, Near, Far int32 }

// ErrNoTriplets means that no triplet can be drawn: no class has two images, or there is only one.
var ErrNoTriplets = errors.New("no triplet can be drawn")

// DrawTriplets draws n triplets from the labelled ones of rows: an anchor, uniformly among the images
// whose class has another one; one of those, uniformly; and an image of another class, uniformly. The
// same seed draws the same triplets.
func DrawTriplets(classes []int32, rows []int, n int, seed uint64) ([]Triplet, error) {
	var labelled, anchors []int
	members := map[int32][]int{}
	for _, r := range rows {
		if c := classes[r]; c >= 0 {
			labelled = append(labelled, r)
			members[c] = append(members[c], r)
		}
	}
	for _, r := range labelled {
		if len(members[classes[r]]) > 1 {
			anchors = append(anchors, r)
		}
	}
	if len(anchors) == 0 || len(members) < 2 {
		return nil, ErrNoTriplets
	}
	random := rand.New(rand.NewPCG(seed, 0))
	pick := func(from []int, not func(int) bool) int32 {
		for { // there is one, and by far most draws hit
			if r := from[random.IntN(len(from))]; !not(r) {
				return int32(r)
			}
		}
	}
	list := make([]Triplet, n)
	for i := range list {
		a := anchors[random.IntN(len(anchors))]
		list[i] = Triplet{
			Anchor: int32(a),
			Near:   pick(members[classes[a]], func(r int) bool { return r == a }),
			Far:    pick(labelled, func(r int) bool { return classes[r] == classes[a] }),
		}
	}
	return list, nil
}

// TripletAccuracy is the share of triplets whose anchor is strictly nearer to Near than to Far. NaN for
// an empty list.
func TripletAccuracy(s Space, list []Triplet) float64 {
	if len(list) == 0 {
		return math.NaN()
	}
	right := 0
	for _, t := range list {
		if s.Closeness(int(t.Anchor), int(t.Near)) > s.Closeness(int(t.Anchor), int(t.Far)) {
			right++
		}
	}
	return float64(right) / float64(len(list))
}
