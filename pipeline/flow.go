package pipeline

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// Source yields values until it returns io.EOF; any other error stops the flow. One goroutine calls
// Next, and never again after an error.
type Source[T any] interface {
	Next(ctx context.Context) (T, error)
}

// Stage turns one value into another. Several goroutines call Process at once, each with a value of
// its own; it may change the value and hand it on. An error is the infrastructure's and stops the
// flow: what is wrong with a single image belongs into its Reject. A stage starts no goroutines and
// retries on its own what is worth retrying.
type Stage[In, Out any] interface {
	Process(ctx context.Context, in In) (Out, error)
}

// Gatherer turns many values into few. One goroutine calls Gather, in order; ok says that out is
// complete and goes on. What is not complete when the values end is dropped: only a value itself can
// say that it is the last of its group.
type Gatherer[In, Out any] interface {
	Gather(ctx context.Context, in In) (out Out, ok bool, err error)
}

// Sink takes values in the order of the source. One goroutine calls Write. What it took becomes
// visible to readers with Commit and not before; Commit is called once, after every goroutine of the
// flow has ended without an error, and not at all otherwise.
type Sink[T any] interface {
	Write(ctx context.Context, v T) error
	Committer
}

// Committer makes durable what a sink has taken.
type Committer interface {
	Commit(ctx context.Context) error
}

// Flow joins sources, stages and sinks with unbuffered channels and owns every goroutine of a run.
// The first error cancels all of them.
//
// A closed channel says only that no more values come, not why: when a source fails, its channel is
// closed before the cancellation arrives. So nothing is committed at the end of a channel; Commit
// waits for all goroutines and looks at their errors first.
type Flow struct {
	group *errgroup.Group
	ctx   context.Context
}

// NewFlow returns an empty flow whose goroutines end when ctx does.
func NewFlow(ctx context.Context) *Flow {
	g, ctx := errgroup.WithContext(ctx)
	return &Flow{group: g, ctx: ctx}
}

// Wait blocks until every goroutine has ended and returns the first error.
func (f *Flow) Wait() error { return f.group.Wait() }

// Commit waits for the flow and then, only if nothing failed, commits in the order given.
func (f *Flow) Commit(ctx context.Context, sinks ...Committer) error {
	if err := f.Wait(); err != nil {
		return err
	}
	for _, s := range sinks {
		if err := s.Commit(ctx); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
	}
	return nil
}

// From starts a flow at a source.
func From[T any](f *Flow, s Source[T]) <-chan T {
	out := make(chan T)
	f.group.Go(func() error {
		defer close(out)
		for {
			v, err := s.Next(f.ctx)
			if err == io.EOF { //nolint:errorlint // a network error may wrap an io.EOF and is no end
				return nil
			}
			if err != nil {
				return err
			}
			if err := send(f.ctx, out, v); err != nil {
				return err
			}
		}
	})
	return out
}

// Through runs every value through the stage, at most workers at a time, and keeps their order: a
// slow value holds back those behind it, of which at most 2×workers are in flight.
func Through[In, Out any](f *Flow, name string, in <-chan In, s Stage[In, Out], workers int) <-chan Out {
	type slot struct {
		in  In
		out chan Out
	}
	workers = max(workers, 1)
	work, order, out := make(chan slot), make(chan chan Out, workers), make(chan Out)
	f.group.Go(func() error {
		defer close(work)
		defer close(order)
		return each(f.ctx, in, func(v In) error {
			sl := slot{in: v, out: make(chan Out, 1)}
			if err := send(f.ctx, order, sl.out); err != nil {
				return err
			}
			return send(f.ctx, work, sl)
		})
	})
	for range workers {
		f.group.Go(func() error {
			return each(f.ctx, work, func(sl slot) error {
				v, err := s.Process(f.ctx, sl.in)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				sl.out <- v // has room for its one value
				return nil
			})
		})
	}
	f.group.Go(func() error {
		defer close(out)
		return each(f.ctx, order, func(c chan Out) error {
			select {
			case v := <-c:
				return send(f.ctx, out, v)
			case <-f.ctx.Done():
				return f.ctx.Err()
			}
		})
	})
	return out
}

// Batch groups consecutive values, at most size a batch. A batch also ends where together says that
// the next value does not belong to the last; nil means that all do. The final batch may be short.
func Batch[T any](f *Flow, in <-chan T, size int, together func(last, next T) bool) <-chan []T {
	out := make(chan []T)
	f.group.Go(func() error {
		defer close(out)
		var batch []T
		flush := func() error {
			if len(batch) == 0 {
				return nil
			}
			b := batch
			batch = nil
			return send(f.ctx, out, b)
		}
		err := each(f.ctx, in, func(v T) error {
			if n := len(batch); n > 0 && (n >= size || together != nil && !together(batch[n-1], v)) {
				if err := flush(); err != nil {
					return err
				}
			}
			batch = append(batch, v)
			return nil
		})
		if err != nil {
			return err
		}
		return flush()
	})
	return out
}

// Gather runs the values through a gatherer.
func Gather[In, Out any](f *Flow, name string, in <-chan In, g Gatherer[In, Out]) <-chan Out {
	out := make(chan Out)
	f.group.Go(func() error {
		defer close(out)
		return each(f.ctx, in, func(v In) error {
			o, ok, err := g.Gather(f.ctx, v)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if !ok {
				return nil
			}
			return send(f.ctx, out, o)
		})
	})
	return out
}

// Into ends a flow: every value goes to every sink, in order.
func Into[T any](f *Flow, in <-chan T, sinks ...Sink[T]) {
	f.group.Go(func() error {
		return each(f.ctx, in, func(v T) error {
			for _, s := range sinks {
				if err := s.Write(f.ctx, v); err != nil {
					return fmt.Errorf("write: %w", err)
				}
			}
			return nil
		})
	})
}

// send hands v on unless the flow ends first.
func send[T any](ctx context.Context, ch chan<- T, v T) error {
	select {
	case ch <- v:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// each calls do with every value until the channel is closed, do fails or the flow ends.
func each[T any](ctx context.Context, in <-chan T, do func(T) error) error {
	for {
		select {
		case v, ok := <-in:
			if !ok {
				return nil
			}
			if err := do(v); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Slice is a Source of the values of a slice.
func Slice[T any](values []T) Source[T] { return &slice[T]{values} }

type slice[T any] struct{ left []T }

func (s *slice[T]) Next(context.Context) (T, error) {
	if len(s.left) == 0 {
		var none T
		return none, io.EOF
	}
	v := s.left[0]
	s.left = s.left[1:]
	return v, nil
}
