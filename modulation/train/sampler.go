package train

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Batching is how batches are put together.
type Batching struct {
	Rows  int `json:"rows" yaml:"rows"`   // images that each task draws into a batch; triplets want a multiple of 3
	Group int `json:"group" yaml:"group"` // semi-hard: images of one class that are drawn together
	// Balance says how often a class of n images is drawn, in proportion to n^Balance: 1 is as in the
	// data, 0 all classes alike. Triplets' anchors are always drawn as in the data.
	Balance float64 `json:"balance" yaml:"balance"`
	// Common makes one batch for all tasks: each draws its rows, but every image counts for all tasks
	// that it has a label of, and passes through the trunk once.
	Common bool `json:"common" yaml:"common"`
}

func (b Batching) check(kind LossKind) error {
	switch {
	case b.Rows < 2 || b.Rows > 1<<16:
		return fmt.Errorf("batch: %d rows a task", b.Rows)
	case kind == Triplet && b.Rows%3 != 0:
		return fmt.Errorf("batch: %d rows a task are no triplets: want a multiple of 3", b.Rows)
	case kind == Triplet && b.Common:
		return errors.New("batch: triplets belong to one task, so their images cannot be common to all; use the semi-hard loss")
	case kind == SemiHard && (b.Group < 2 || 2*b.Group > b.Rows):
		return fmt.Errorf("batch: groups of %d in %d rows: want at least 2, and 2 groups", b.Group, b.Rows)
	case !(b.Balance >= 0 && b.Balance <= 1):
		return fmt.Errorf("batch: balance %v, want 0 to 1", b.Balance)
	}
	return nil
}

// Sampler draws the images that one task puts into a batch: rows[i] is an image. Triplets come as
// anchor, positive, negative. All that it knows of the past is in rng.
type Sampler interface {
	Draw(rng *rand.Rand, task int, rows []int32)
}

// classIndex is the images of one task, grouped by class.
type classIndex struct {
	images []int32 // labelled ones, class after class
	starts []int   // of the classes that have at least two images, and then the end of the last
	last   []int   // the end of each class; classes of one image lie between and are only negatives
	anchor []int   // sum of the sizes of the classes up to and with this one
	weight []float64
}

// newIndex groups the given images by their class.
func newIndex(classes []int32, among []int32, balance float64) (*classIndex, error) {
	x := &classIndex{}
	for _, i := range among {
		if classes[i] != Missing {
			x.images = append(x.images, i)
		}
	}
	slices.SortStableFunc(x.images, func(a, b int32) int { return int(classes[a]) - int(classes[b]) })
	total := 0
	for lo := 0; lo < len(x.images); {
		hi := lo + 1
		for hi < len(x.images) && classes[x.images[hi]] == classes[x.images[lo]] {
			hi++
		}
		if hi-lo > 1 {
			total += hi - lo
			x.starts, x.last = append(x.starts, lo), append(x.last, hi)
			x.anchor = append(x.anchor, total)
			x.weight = append(x.weight, math.Pow(float64(hi-lo), balance))
		}
		lo = hi
	}
	if len(x.starts) == 0 || x.last[0]-x.starts[0] == len(x.images) {
		return nil, fmt.Errorf("%d labelled images: want two of one class and one of another", len(x.images))
	}
	return x, nil
}

// Labelled draws by labels: triplets, or groups of one class.
type Labelled struct {
	kind  LossKind
	group int
	index []*classIndex // a task
}

// NewLabelled makes a sampler of the given images.
func NewLabelled(l *Labels, among []int32, kind LossKind, b Batching) (*Labelled, error) {
	s := &Labelled{kind: kind, group: b.Group}
	for t, classes := range l.Classes {
		for _, i := range among {
			if i < 0 || int(i) >= len(classes) {
				return nil, fmt.Errorf("task %s: there is no image %d", l.Tasks[t], i)
			}
		}
		x, err := newIndex(classes, among, b.Balance)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", l.Tasks[t], err)
		}
		s.index = append(s.index, x)
	}
	return s, nil
}

// Draw implements Sampler.
func (s *Labelled) Draw(rng *rand.Rand, task int, rows []int32) {
	x := s.index[task]
	if s.kind == Triplet {
		for i := 0; i+3 <= len(rows); i += 3 {
			rows[i], rows[i+1], rows[i+2] = x.triplet(rng)
		}
		return
	}
	first, other := -1, false
	for lo := 0; lo < len(rows); lo += s.group {
		hi := min(lo+s.group, len(rows))
		c := x.class(rng)
		if hi == len(rows) && !other && c == first && len(x.starts) > 1 {
			c = (c + 1 + rng.IntN(len(x.starts)-1)) % len(x.starts) // a batch of one class teaches nothing
		}
		if first < 0 {
			first = c
		}
		other = other || c != first
		x.pick(rng, c, rows[lo:hi])
	}
}

// triplet draws an anchor among all images whose class has another one.
func (x *classIndex) triplet(rng *rand.Rand) (anchor, positive, negative int32) {
	at := rng.IntN(x.anchor[len(x.anchor)-1])
	c, _ := slices.BinarySearch(x.anchor, at+1)
	lo, hi := x.starts[c], x.last[c]
	a := hi - (x.anchor[c] - at)
	p := lo + rng.IntN(hi-lo-1)
	if p >= a {
		p++
	}
	n := rng.IntN(len(x.images) - (hi - lo))
	if n >= lo {
		n += hi - lo
	}
	return x.images[a], x.images[p], x.images[n]
}

// class draws a class by weight.
func (x *classIndex) class(rng *rand.Rand) int {
	total := 0.0
	for _, w := range x.weight {
		total += w
	}
	at := rng.Float64() * total
	for c, w := range x.weight {
		if at -= w; at < 0 {
			return c
		}
	}
	return len(x.weight) - 1
}

// pick draws images of a class, none twice as long as there are enough.
func (x *classIndex) pick(rng *rand.Rand, c int, rows []int32) {
	members := x.images[x.starts[c]:x.last[c]]
	for i := range rows {
		for {
			rows[i] = members[rng.IntN(len(members))]
			if i >= len(members) || !slices.Contains(rows[:i], rows[i]) {
				break
			}
		}
	}
}

// Lists draws from given triplets: [task][k] is anchor, positive, negative.
type Lists [][][3]int32

// Check reports what is wrong with the triplets for n images, or nil.
func (l Lists) Check(n int) error {
	for t, list := range l {
		if len(list) == 0 {
			return fmt.Errorf("task %d has no triplets", t)
		}
		for k, tr := range list {
			for _, i := range tr {
				if i < 0 || int(i) >= n {
					return fmt.Errorf("task %d: triplet %d names image %d of %d", t, k, i, n)
				}
			}
		}
	}
	return nil
}

// Draw implements Sampler.
func (l Lists) Draw(rng *rand.Rand, task int, rows []int32) {
	for i := 0; i+3 <= len(rows); i += 3 {
		tr := l[task][rng.IntN(len(l[task]))]
		copy(rows[i:i+3], tr[:])
	}
}
