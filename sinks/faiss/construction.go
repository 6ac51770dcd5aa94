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
	staged
	block    int
	compared staged // vectors that the index holds already, for the exact search alone

	heldIDs []int64
	held    []float32
	exact   *native.Exact // nil before the first add

	inIDs     []int64 // reused for what comes in
	inVectors []float32
}

// staged are vectors that wait for their block to be full.
type staged struct {
	ids     []int64
	vectors []float32
}

func (s *staged) clear() { s.ids, s.vectors = s.ids[:0], s.vectors[:0] }

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
	switch {
	case spec.Trained != "":
		return c, c.readTrained(spec.Trained)
	case spec.Update != "":
		c.index, err = native.Read(spec.Update)
	default:
		c.index, err = native.New(spec.Factory, spec.Task.Dim, spec.Task.Metric)
	}
	if err != nil {
		return nil, err
	}
	// HNSW over PQ codes, for one, takes no notice of the metric it is asked for.
	if err := c.expected(); err != nil {
		return nil, err
	}
	return c, c.index.Tune(c.knobs.setting(c.knobs.first))
}

func (c *construction) readTrained(path string) (err error) {
	if c.index, err = native.Read(path); err != nil {
		return err
	}
	if n := c.index.Total(); n != 0 || !c.index.Trained() {
		return fmt.Errorf("%s is not a trained, empty index: it holds %d vectors", path, n)
	}
	return c.expected()
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
	return c.stage(&c.staged, ids, vectors, c.flush)
}

// compare takes vectors that are in the index already.
func (c *construction) compare(ids []int64, vectors []float32) error {
	return c.stage(&c.compared, ids, vectors, c.flushCompared)
}

// stage fills blocks and flushes each one that is full.
func (c *construction) stage(s *staged, ids []int64, vectors []float32, flush func() error) error {
	c.begin()
	d := c.spec.Task.Dim
	for len(ids) > 0 {
		n := min(len(ids), c.block-len(s.ids))
		s.ids = append(s.ids, ids[:n]...)
		s.vectors = append(s.vectors, vectors[:n*d]...)
		ids, vectors = ids[n:], vectors[n*d:]
		if len(s.ids) == c.block {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove wants every id to be in the index, once.
func (c *construction) remove(ids []int64) error {
	if c.exact != nil || len(c.heldIDs) > 0 {
		return errors.New("vectors were added or held out already; ids are removed before that")
	}
	n, err := c.index.Remove(ids)
	if err == nil && n != len(ids) {
		err = fmt.Errorf("of %d ids to be removed the index held %d", len(ids), n)
	}
	return err
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
	c.staged.clear()
	return err
}

func (c *construction) flushCompared() error {
	if err := c.exact.Add(c.compared.ids, c.compared.vectors); err != nil {
		return fmt.Errorf("exact search: %w", err)
	}
	c.compared.clear()
	return nil
}

// unfinished tells whether there are vectors that are not in the index yet.
func (c *construction) unfinished() bool {
	return len(c.ids)+len(c.compared.ids)+len(c.heldIDs) > 0
}

// finish measures the index, chooses its search parameters and adds what was held out.
func (c *construction) finish() (*Report, error) {
	c.begin()
	if err := errors.Join(c.flushCompared(), c.flush()); err != nil {
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
