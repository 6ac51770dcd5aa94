package faiss

import (
	"slices"
	"time"

	"github.com/facet-search/facet/sinks/faiss/internal/native"
)

const (
	// exactK neighbours are kept of every query: 40 for autofaiss's figures, more for duplicates that
	// tie with the last that counts. Ties beyond them count as misses.
	exactK = 64
	// tieTolerance is relative. Identical vectors have identical distances here.
	tieTolerance = 1e-6
	// leastGain of recall@10 is worth doubling the work of every search.
	leastGain = 0.002
	// timingBudget ends the timing of single searches.
	timingBudget = 2 * time.Second
)

// measure raises the search parameters until recall@10 is what the spec wants, or raising them
// further is no use, and leaves the index with them.
func (c *construction) measure() (*Report, error) {
	r := &Report{Queries: len(c.heldIDs), Vectors: c.index.Total()}
	if c.spec.Trained == "" {
		r.Params = c.knobs.setting(c.knobs.first)
	}
	if r.Queries == 0 || r.Vectors == 0 {
		return r, nil
	}
	if err := c.tune(r); err != nil {
		return nil, err
	}
	_, ids, err := c.index.Search(c.held, 40)
	if err != nil {
		return nil, err
	}
	r.OneRecall20 = c.recall(ids, 40, 20, 1)
	r.OneRecall40 = c.recall(ids, 40, 40, 1)
	r.Intersection20 = c.recall(ids, 40, 20, 20)
	r.Intersection40 = c.recall(ids, 40, 40, 40)
	return r, c.timeSearches(r)
}

func (c *construction) tune(r *Report) error {
	target := c.spec.Recall
	if target == 0 {
		target = DefaultRecall
	}
	best := -1.0
	for v := c.knobs.first; ; v *= 2 {
		v = min(v, c.knobs.last)
		recall, err := c.recallAt(v)
		if err != nil {
			return err
		}
		if recall < best+leastGain {
			return c.index.Tune(r.Params) // back to what was as good for half the work
		}
		best, r.Recall10, r.Params = recall, &recall, c.knobs.setting(v)
		if best >= target || v >= c.knobs.last {
			return nil
		}
	}
}

// recallAt is recall@10 with the knob at v.
func (c *construction) recallAt(v int) (float64, error) {
	if err := c.index.Tune(c.knobs.setting(v)); err != nil {
		return 0, err
	}
	_, ids, err := c.index.Search(c.held, 10)
	if err != nil {
		return 0, err
	}
	of := int(min(10, c.index.Total()))
	return recall(c.exact, ids, 10, 10, of), nil
}

// recall is nil where the index holds fewer vectors than the figure is about.
func (c *construction) recall(ids []int64, k, first, of int) *float64 {
	if c.index.Total() < int64(max(first, of)) {
		return nil
	}
	v := recall(c.exact, ids, k, first, of)
	return &v
}

// recall is the share of the exact nearest `of` that the first of each query's k found ids name.
// Vectors as near as the last of these count as well, up to that number.
func recall(exact *native.Exact, ids []int64, k, first, of int) float64 {
	n := len(ids) / k
	hits := 0
	for q := range n {
		found := ids[q*k : q*k+first]
		good := exact.IDs[q*exact.K : (q+1)*exact.K]
		good = good[:reach(exact.Distances[q*exact.K:(q+1)*exact.K], good, of)]
		h := 0
		for _, id := range found {
			if id >= 0 && slices.Contains(good, id) {
				h++
			}
		}
		hits += min(h, of)
	}
	return float64(hits) / float64(n*of)
}

// reach is how many of the exact neighbours are as near as the of-th.
func reach(distances []float32, ids []int64, of int) int {
	last := float64(distances[of-1])
	slack := tieTolerance * max(last, -last)
	n := of
	for n < len(ids) && ids[n] >= 0 && difference(float64(distances[n]), last) <= slack {
		n++
	}
	return n
}

func difference(a, b float64) float64 { return max(a-b, b-a) }

// timeSearches searches for 40 with one query at a time, as autofaiss does.
func (c *construction) timeSearches(r *Report) error {
	d := c.spec.Task.Dim
	var millis []float64
	for start := time.Now(); len(millis) < r.Queries && time.Since(start) < timingBudget; {
		q := c.held[len(millis)*d : (len(millis)+1)*d]
		t := time.Now()
		if _, _, err := c.index.Search(q, 40); err != nil {
			return err
		}
		millis = append(millis, float64(time.Since(t))/float64(time.Millisecond))
	}
	sum := 0.0
	for _, m := range millis {
		sum += m
	}
	slices.Sort(millis)
	average, p99 := sum/float64(len(millis)), millis[(len(millis)-1)*99/100]
	r.AverageMillis, r.P99Millis = &average, &p99
	return nil
}
