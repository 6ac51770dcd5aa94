package faiss

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Up to flatBelow vectors exact search is fast enough; up to graphBelow one HNSW graph is.
const (
	flatBelow  = 10_000
	graphBelow = 1_000_000
)

// k-means wants at least 30 vectors a list, and has no use for more than 256.
const (
	leastPerList = 30
	mostPerList  = 256
	// codeSample trains what is not k-means over lists: quantizers of 256 centroids, rotations,
	// ranges. FAISS samples it down to this where it wants no more.
	codeSample = 256 * 256
)

// Choose picks an index type, as a factory string for Resolve, for n vectors of dim numbers that are
// to fit into memory bytes (0 for no cap). The types are those of FAISS's own guidelines: exact up
// to ten thousand, a graph up to a million, then inverted lists, whose codes get shorter until they
// fit. If nothing fits it is the smallest.
func Choose(n, dim int, memory int64) string {
	if n < flatBelow {
		return "Flat"
	}
	fits := func(bytes float64) bool { return memory <= 0 || bytes <= float64(memory) }
	// Beside its vector: 2×32 links and a share of the upper levels', level and offset, id and its
	// place in the hash table of IDMap2.
	const graphBytes = 4*(64+2) + 12 + 8 + 40
	if n < graphBelow && fits(float64(n)*float64(4*dim+graphBytes)) {
		return "HNSW32"
	}
	lists := listsFor(n)
	coarse := fmt.Sprintf("IVF%d", lists)
	centroid := 4 * dim
	if n >= graphBelow {
		coarse += "_HNSW32"
		centroid += graphBytes
	}
	all := codings(dim)
	for _, c := range all {
		if fits(float64(n)*float64(c.bytes+8) + float64(lists)*float64(centroid)) {
			return c.around(coarse)
		}
	}
	return all[len(all)-1].around(coarse)
}

// listsFor is a power of two that leaves every list enough vectors to be trained on.
func listsFor(n int) int {
	lists := 1 << 20
	switch {
	case n < graphBelow:
		lists = 1 << int(math.Round(math.Log2(4*math.Sqrt(float64(n)))))
	case n < 10_000_000:
		lists = 1 << 16
	case n < 100_000_000:
		lists = 1 << 18
	}
	for lists > 1 && lists*leastPerList > n {
		lists /= 2
	}
	return lists
}

// coding is how inverted lists store a vector.
type coding struct {
	rotate, codes string
	bytes         int
}

func (c coding) around(coarse string) string { return c.rotate + coarse + "," + c.codes }

// codings are those for vectors of dim numbers, longest codes first.
func codings(dim int) []coding {
	all := []coding{{"", "Flat", 4 * dim}, {"", "SQ8", dim}}
	for _, m := range []int{64, 32, 16, 8} {
		if m >= dim {
			continue
		}
		rotated := min(4*m, dim/m*m)
		all = append(all, coding{fmt.Sprintf("OPQ%d_%d,", m, rotated), fmt.Sprintf("PQ%dnp", m), m})
	}
	return all
}

// TrainSize is how many of n vectors to train an index on; 0 if it needs no training. It is an error
// if there are too few for its lists.
func TrainSize(factoryString string, n int) (int, error) {
	f, err := parseFactory(factoryString)
	if err != nil {
		return 0, err
	}
	if f.nlist*leastPerList > n {
		return 0, fmt.Errorf("index type %q: %d lists want %d vectors to train on, at least %d a list, and there are %d: ask for at most %d lists, or for \"auto\"",
			factoryString, f.nlist, f.nlist*leastPerList, leastPerList, n, n/leastPerList)
	}
	want := f.nlist * perList(f.nlist)
	if f.trainsCodes() {
		want = max(want, codeSample)
	}
	return min(want, n), nil
}

// perList spends less on each list the more there are: the work grows with their square.
func perList(lists int) int {
	switch {
	case lists <= 1<<10:
		return mostPerList
	case lists <= 1<<14:
		return 100
	}
	return 40
}

// trainsCodes tells whether anything but the lists needs training.
func (f factory) trainsCodes() bool {
	untrained := func(p string) bool {
		switch p {
		case "Flat", "FlatDedup", "SQfp16", "L2norm", "L2Norm":
			return true
		}
		return strings.HasPrefix(p, "RR") || strings.HasPrefix(p, "Pad") ||
			strings.HasPrefix(p, "HNSW") && !strings.Contains(p, "_") || f.nlist > 0 && p == f.kind
	}
	return slices.ContainsFunc(slices.Concat(f.transforms, []string{f.kind}, f.codes), func(p string) bool {
		return !untrained(p)
	})
}
