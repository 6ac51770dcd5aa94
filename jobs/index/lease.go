package index

import (
	"context"
	"errors"
	"time"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
)

// openOutput takes the output's lease and finds the snapshot to go on from. The lease comes first: what
// is read after it stays as it is.
func (j *job) openOutput(ctx context.Context) (err error) {
	if j.lease, err = sinks.Acquire(ctx, j.output, j.config.Lease); err != nil {
		return err
	}
	if j.lease.Took {
		if err := sinks.Fence(ctx, j.output); err != nil {
			return err
		}
	}
	parent := ""
	j.pointer, err = sinks.ReadPointer(ctx, j.output)
	if err == nil {
		j.previous, err = sinks.OpenCurrent(ctx, j.output)
	}
	switch {
	case err == nil:
		j.pointer, parent = j.previous.Pointer(), j.previous.Snapshot
	case !errors.Is(err, sinks.ErrNoSnapshot):
		return err
	}
	j.records, err = sinks.OpenRecords(ctx, j.output, parent)
	return err
}

// hold renews the lease for as long as the night takes. The context ends when it is lost.
func (j *job) hold(ctx context.Context) (context.Context, func()) {
	return pipeline.Heartbeat(ctx, j.lease.Every(), j.lease.Renew)
}

// lost says that the lease is lost where that is why everything else was cancelled.
func lost(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, sinks.ErrLeaseLost) && !errors.Is(err, sinks.ErrLeaseLost) {
		return errors.Join(cause, err)
	}
	return err
}

// releaseTimeout bounds the farewell of a run that was interrupted.
const releaseTimeout = 10 * time.Second

// release gives the lease back, also when the run was interrupted: the next one need not wait.
func (j *job) release() {
	if j.lease == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	if err := j.lease.Release(ctx); err != nil {
		j.progress.Log().Warn("the lease is not given back and will expire", "error", err)
	}
}
