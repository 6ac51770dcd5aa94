package faiss

import (
	"context"
	"fmt"
	"slices"

	"github.com/facet-search/facet/pipeline"
)

// Builder makes one index in a child process. The calls go in this order:
//
//	Sample* Train HoldOut* Add* Finish Write Close
//
// where those with a star may be repeated or left out, and Sample and Train are for indexes that
// TrainSize says need training. For a trained, empty file (see Spec.Trained) it is Sample* Train
// Write. For last night's index (see Spec.Update) it is
//
//	Remove* HoldOut* (Add | Compare)* Finish Write Close
//
// An error leaves nothing to go on with but Close, which is always due. One goroutine uses a
// builder at a time; vectors may be changed once a call has returned.
type Builder struct {
	p    *process
	spec Spec
}

// Start starts the child and makes the empty index. The child is killed when ctx ends.
func Start(ctx context.Context, spec Spec) (*Builder, error) {
	if err := spec.validate(); err != nil {
		return nil, err
	}
	p, err := start(ctx, spec.Task.Name, spec.Threads)
	if err != nil {
		return nil, err
	}
	b := &Builder{p: p, spec: spec}
	if _, err := p.call(request{Op: opBuild, Spec: &spec}, nil, nil); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Check tells whether FAISS accepts a factory string (see Resolve) for a task's vectors.
func Check(ctx context.Context, factory string, task pipeline.Task) error {
	b, err := Start(ctx, Spec{Task: task, Factory: factory})
	if err != nil {
		return err
	}
	return b.Close()
}

// Sample takes vectors [n, Dim] for training. They should be a random sample of the gallery without
// the held-out ones (see Split).
func (b *Builder) Sample(vectors []float32) error {
	return b.deliver(opSample, nil, vectors)
}

// Train trains the index on the sample. It does nothing if the index needs none.
func (b *Builder) Train() error {
	_, err := b.p.call(request{Op: opTrain}, nil, nil)
	return err
}

// removeBatch bounds the ids that FAISS gets at a time: it makes a hash table of them, some 50 MiB
// large, and compares all ids of the index with it.
const removeBatch = 1 << 20

// Remove removes ids from the index to be updated, each of which it must hold. Those to be held out
// are among them: then recall is measured as in a new index, with queries that it does not hold.
func (b *Builder) Remove(ids []int64) error {
	for batch := range slices.Chunk(ids, removeBatch) {
		if _, err := b.p.call(request{Op: opRemove, N: len(batch)}, [][]byte{raw(batch)}, nil); err != nil {
			return err
		}
	}
	return nil
}

// Compare takes vectors [len(ids), Dim] that the index to be updated holds already: the queries'
// exact neighbours are looked for among them too.
func (b *Builder) Compare(ids []int64, vectors []float32) error {
	return b.deliver(opCompare, ids, vectors)
}

// HoldOut takes vectors [len(ids), Dim] that recall is measured with before they are added too.
// All of them come before the first Add.
func (b *Builder) HoldOut(ids []int64, vectors []float32) error {
	return b.deliver(opHoldOut, ids, vectors)
}

// Add adds vectors [len(ids), Dim].
func (b *Builder) Add(ids []int64, vectors []float32) error {
	return b.deliver(opAdd, ids, vectors)
}

func (b *Builder) deliver(op string, ids []int64, vectors []float32) error {
	d := b.spec.Task.Dim
	n := len(vectors) / d
	if len(vectors)%d != 0 || op != opSample && len(ids) != n {
		return b.p.wrap(op, fmt.Errorf("%d numbers are not %d vectors of %d", len(vectors), len(ids), d))
	}
	if n == 0 {
		return nil
	}
	_, err := b.p.call(request{Op: op, N: n}, [][]byte{raw(ids), raw(vectors)}, nil)
	return err
}

// Finish measures the index with what was held out, chooses its search parameters and adds the
// held-out vectors. Without any, the report holds no figures.
func (b *Builder) Finish() (Report, error) {
	rep, err := b.p.call(request{Op: opFinish}, nil, nil)
	if err != nil {
		return Report{}, err
	}
	return *rep.Report, nil
}

// Write writes the index to a local file, which it replaces, and returns the file's size in bytes.
// The file is durable only after the caller has synced it.
func (b *Builder) Write(path string) (Stats, int64, error) {
	rep, err := b.p.call(request{Op: opWrite, Path: path}, nil, nil)
	if err != nil {
		return Stats{}, 0, err
	}
	return *rep.Stats, rep.Size, nil
}

// Close ends the child. What was not written is gone.
func (b *Builder) Close() error { return b.p.close() }
