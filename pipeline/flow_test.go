package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter yields 1…max and then fail, or io.EOF when fail is nil.
type counter struct {
	n, max int
	fail   error
}

func (c *counter) Next(context.Context) (int, error) {
	if c.n == c.max {
		if c.fail != nil {
			return 0, c.fail
		}
		return 0, io.EOF
	}
	c.n++
	return c.n, nil
}

type stageFunc func(context.Context, int) (int, error)

func (f stageFunc) Process(ctx context.Context, v int) (int, error) { return f(ctx, v) }

type memory[T any] struct {
	got       []T
	committed bool
	fail      error
}

func (m *memory[T]) Write(_ context.Context, v T) error { m.got = append(m.got, v); return m.fail }
func (m *memory[T]) Commit(context.Context) error       { m.committed = true; return nil }

// run sends 1…n through a slow stage and a doubling one.
func run(ctx context.Context, src Source[int], slow stageFunc, sink Sink[int]) error {
	f := NewFlow(ctx)
	slowed := Through(f, "slow", From(f, src), slow, 8)
	double := stageFunc(func(_ context.Context, v int) (int, error) { return 2 * v, nil })
	Into(f, Through(f, "double", slowed, double, 3), sink)
	return f.Commit(ctx, sink)
}

func identity(_ context.Context, v int) (int, error) { return v, nil }

func TestFlowKeepsOrder(t *testing.T) {
	var m memory[int]
	jitter := func(_ context.Context, v int) (int, error) {
		time.Sleep(rand.N(300 * time.Microsecond))
		return v, nil
	}
	if err := run(t.Context(), &counter{max: 2000}, jitter, &m); err != nil {
		t.Fatal(err)
	}
	if !m.committed || len(m.got) != 2000 {
		t.Fatalf("committed %v with %d of 2000 values", m.committed, len(m.got))
	}
	for i, v := range m.got {
		if v != 2*(i+1) {
			t.Fatalf("value %d is %d, want %d", i, v, 2*(i+1))
		}
	}
}

func TestFlowNeverCommitsAfterAnError(t *testing.T) {
	boom := errors.New("boom")
	cases := map[string]func(at int) (Source[int], stageFunc, *memory[int]){
		"source": func(at int) (Source[int], stageFunc, *memory[int]) {
			return &counter{max: at, fail: boom}, identity, &memory[int]{}
		},
		"source, with an io.EOF inside": func(at int) (Source[int], stageFunc, *memory[int]) {
			return &counter{max: at, fail: fmt.Errorf("%w: %w", boom, io.EOF)}, identity, &memory[int]{}
		},
		"stage": func(at int) (Source[int], stageFunc, *memory[int]) {
			return &counter{max: 60}, func(_ context.Context, v int) (int, error) {
				if v == at+1 {
					return 0, boom
				}
				return v, nil
			}, &memory[int]{}
		},
		"sink": func(int) (Source[int], stageFunc, *memory[int]) {
			return &counter{max: 60}, identity, &memory[int]{fail: boom}
		},
	}
	for name, setup := range cases {
		t.Run(name, func(t *testing.T) {
			// A truncated stream that looks whole turned up in one run of a thousand.
			for i := range 2000 {
				src, stage, sink := setup(i % 50)
				err := run(t.Context(), src, stage, sink)
				if !errors.Is(err, boom) || sink.committed {
					t.Fatalf("run %d: err %v, committed %v", i, err, sink.committed)
				}
			}
		})
	}
}

func TestFlowEndsWhenCancelled(t *testing.T) {
	for range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(2*time.Millisecond))
		var m memory[int]
		err := run(ctx, &counter{max: 1 << 40}, identity, &m)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || m.committed {
			t.Fatalf("err %v, committed %v", err, m.committed)
		}
	}
}

func TestBatch(t *testing.T) {
	f := NewFlow(t.Context())
	var m memory[[]int]
	sameTen := func(last, next int) bool { return last/10 == next/10 }
	Into(f, Batch(f, From(f, &counter{max: 21}), 4, sameTen), &m)
	if err := f.Commit(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	want := [][]int{{1, 2, 3, 4}, {5, 6, 7, 8}, {9}, {10, 11, 12, 13}, {14, 15, 16, 17}, {18, 19}, {20, 21}}
	if !slices.EqualFunc(m.got, want, slices.Equal) {
		t.Fatalf("got %v, want %v", m.got, want)
	}
}
