package faiss

import (
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/facet-search/facet/sinks/faiss/internal/native"
)

// construction is an index being built, in the child.
type construction struct {
	spec  Spec
	index *native.Index
	knobs knobs

	sample []float32 // for training; nil afterwards

	// Vectors reach FAISS in blocks of one size, because HNSW orders each call's vectors on its own:
	// otherwise the caller's batches would decide the index's bytes.
	ids     []int64
	vectors []float32
	block   int

	heldIDs []int64
	held    []float32
	exact   *native.Exact // nil before the first add

	inIDs     []int64 // reused for what comes in
	inVectors []float32
}

// Blocks are large enough for FAISS to work in parallel and for matrix products to pay.
const (
	blockBytes   = 32 << 20
	maxBlockSize = 16384
	minBlockSize = 1024
)

func newConstruction(spec Spec) (*construction, error) {
	f, err := parseFactory(spec.Factory)
	if err != nil {
		return nil, err
	}
	c := &construction{spec: spec, knobs: f.knobs()}
	c.block = min(max(blockBytes/(4*spec.Task.Dim), minBlockSize), maxBlockSize)
	c.sample = make([]float32, 0, min(spec.Train, maxBody/spec.Task.Dim)*spec.Task.Dim)
	if spec.Trained == "" {
		if c.index, err = native.New(spec.Factory, spec.Task.Dim, spec.Task.Metric); err != nil {
			return nil, err
		}
		// HNSW over PQ codes, for one, takes no notice of the metric it is asked for.
		if err := c.expected(); err != nil {
			return nil, err
		}
		return c, c.index.Tune(c.knobs.setting(c.knobs.first))
	}
	if c.index, err = native.Read(spec.Trained); err != nil {
		return nil, err
	}
	if n := c.index.Total(); n != 0 || !c.index.Trained() {
		return nil, fmt.Errorf("%s is not a trained, empty index: it holds %d vectors", spec.Trained, n)
	}
	return c, c.expected()
}

func (c *construction) expected() error {
	return expect(c.spec.Task, Stats{Dim: c.index.Dim(), Metric: c.index.Metric()})
}

// incoming is room for n vectors with their ids, valid until the next call.
func (c *construction) incoming(n int) ([]int64, []float32) {
	d := c.spec.Task.Dim
	if cap(c.inIDs) < n {
		c.inIDs, c.inVectors = make([]int64, n), make([]float32, n*d)
	}
	return c.inIDs[:n], c.inVectors[:n*d]
}

func (c *construction) takeSample(vectors []float32) error {
	if c.index.Trained() {
		return errors.New("the index is trained already, or needs no training")
	}
	c.sample = append(c.sample, vectors...)
	return nil
}

func (c *construction) train() error {
	if c.index.Trained() {
		return nil
	}
	err := c.index.Train(c.sample)
	c.sample = nil
	debug.FreeOSMemory()
	return err
}

func (c *construction) holdOut(ids []int64, vectors []float32) error {
	if c.exact != nil {
		return errors.New("vectors were added already; queries are held out before that")
	}
	c.heldIDs = append(c.heldIDs, ids...)
	c.held = append(c.held, vectors...)
	return nil
}

func (c *construction) add(ids []int64, vectors []float32) error {
	if !c.index.Trained() {
		return errors.New("the index is not trained")
	}
	c.begin()
	d := c.spec.Task.Dim
	for len(ids) > 0 {
		n := min(len(ids), c.block-len(c.ids))
		c.ids = append(c.ids, ids[:n]...)
		c.vectors = append(c.vectors, vectors[:n*d]...)
		ids, vectors = ids[n:], vectors[n*d:]
		if len(c.ids) == c.block {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin starts the exact search; from here on the queries are fixed.
func (c *construction) begin() {
	if c.exact == nil {
		c.exact = native.NewExact(c.held, c.spec.Task.Dim, c.spec.Task.Metric, exactK)
	}
}

func (c *construction) flush() error {
	if err := c.exact.Add(c.ids, c.vectors); err != nil {
		return fmt.Errorf("exact search: %w", err)
	}
	err := c.index.Add(c.ids, c.vectors)
	c.ids, c.vectors = c.ids[:0], c.vectors[:0]
	return err
}

// unfinished tells whether there are vectors that are not in the index yet.
func (c *construction) unfinished() bool { return len(c.ids) > 0 || len(c.heldIDs) > 0 }

// finish measures the index, chooses its search parameters and adds what was held out.
func (c *construction) finish() (*Report, error) {
	c.begin()
	if err := c.flush(); err != nil {
		return nil, err
	}
	report, err := c.measure()
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	ids, vectors := c.heldIDs, c.held
	c.exact, c.heldIDs, c.held = native.NewExact(nil, c.spec.Task.Dim, c.spec.Task.Metric, exactK), nil, nil
	if len(ids) == 0 {
		return report, nil
	}
	if err := c.add(ids, vectors); err != nil {
		return nil, err
	}
	return report, c.flush()
}
