package index

import (
	"context"
	"errors"

	"github.com/facet-search/facet/sinks"
)

// openOutput takes the output's lease and finds the snapshot to go on from. The lease comes first: what
// is read after it stays as it is.
func (j *job) openOutput(ctx context.Context) (err error) {
	if j.lease, err = sinks.Take(ctx, j.output, j.config.Lease); err != nil {
		return err
	}
	parent := ""
	j.pointer, err = sinks.ReadPointer(ctx, j.output)
	if err == nil {
		j.previous, err = sinks.OpenCurrent(ctx, j.output)
	}
	switch {
	case err == nil:
		j.pointer, parent = j.previous.Pointer(), j.previous.Snapshot
		j.pointer.Decision.RaiseSequences(j.previous.Shards.NextSequence)
	case !errors.Is(err, sinks.ErrNoSnapshot):
		return err
	}
	j.records, err = sinks.OpenRecords(ctx, j.output, parent)
	return err
}

// release gives the lease back, also when the run was interrupted: the next one need not wait.
func (j *job) release() {
	if j.lease == nil {
		return
	}
	if err := j.lease.Leave(); err != nil {
		j.progress.Log().Warn("the lease is not given back and will expire", "error", err)
	}
}
