package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

func pull(seq iter.Seq2[pipeline.Ref, error]) (func() (pipeline.Ref, error, bool), func()) {
	return iter.Pull2(seq)
}

// parallel calls do(0…n-1), several at a time, and fails the test with the first error.
func parallel(workers, n int, do func(i int) error, t testing.TB) {
	t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					t.Errorf("%d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// random is n bytes that no compression or coincidence reproduces.
func random(n int) string {
	b := make([]byte, n)
	g := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)})
	_, _ = g.Read(b) // never fails
	return string(b)
}

func testLarge(t *testing.T, s store.Store) {
	data := random(17<<20 + 1)
	for i, cond := range []store.Condition{{}, store.IfAbsent()} {
		key := fmt.Sprint("large/", i)
		written, err := s.Put(t.Context(), key, strings.NewReader(data), int64(len(data)), cond)
		if err != nil {
			t.Fatal(err)
		}
		if got, ref := read(t, s, key); got != data || !same(ref, written) {
			t.Errorf("%d bytes written as %+v are %d bytes %+v", len(data), written, len(got), ref)
		}
		for _, cond := range []store.Condition{store.IfAbsent(), store.IfMatch("another")} {
			if _, err := s.Put(t.Context(), key, strings.NewReader(data), int64(len(data)), cond); !errors.Is(err, store.ErrPrecondition) {
				t.Errorf("it is there already: %v", err)
			}
		}
		if _, err := s.Put(t.Context(), key, strings.NewReader(data[1:]), int64(len(data)-1), store.IfMatch(written.ETag)); err != nil {
			t.Error(err)
		}
	}
	if got, _, err := store.ReadObject(t.Context(), s, "large/1", nil, 1<<30); string(got) != data[1:] || err != nil {
		t.Errorf("replaced by other %d bytes: %d bytes, %v", len(data)-1, len(got), err)
	}
}

func tryPut(t testing.TB, s store.Store, key, data string, cond store.Condition) (pipeline.Ref, error) {
	return s.Put(t.Context(), key, strings.NewReader(data), int64(len(data)), cond)
}

func testConditions(t *testing.T, s store.Store) {
	wins := func(data string, cond store.Condition) pipeline.Ref {
		t.Helper()
		ref, err := tryPut(t, s, "folder/k", data, cond)
		if got, now := read(t, s, "folder/k"); err != nil || got != data || !same(ref, now) {
			t.Errorf("wrote %q as %+v: %v; read %q as %+v", data, ref, err, got, now)
		}
		return ref
	}
	loses := func(cond store.Condition) {
		t.Helper()
		if ref, err := tryPut(t, s, "folder/k", "loser", cond); !errors.Is(err, store.ErrPrecondition) {
			t.Errorf("wrote %+v: %v, want ErrPrecondition", ref, err)
		}
	}
	loses(store.IfMatch("of nothing"))
	loses(store.IfMatch(""))
	holds(t, s)
	first := wins("one", store.IfAbsent())
	loses(store.IfAbsent())
	loses(store.IfMatch("another"))
	loses(store.IfMatch(""))
	second := wins("two", store.IfMatch(first.ETag))
	loses(store.IfMatch(first.ETag))
	wins("three", store.Condition{})
	loses(store.IfMatch(second.ETag))
	if err := s.Delete(t.Context(), "folder/k"); err != nil {
		t.Fatal(err)
	}
	loses(store.IfMatch(second.ETag))
	wins("four", store.IfAbsent())
}

const racers = 32

// race lets all racers write at once under one condition, and returns the one that won.
func race(t *testing.T, s store.Store, cond store.Condition) {
	t.Helper()
	var wins, winner atomic.Int64
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			<-start
			switch _, err := tryPut(t, s, "folder/k", fmt.Sprint("racer ", i), cond); {
			case err == nil:
				wins.Add(1)
				winner.Store(int64(i))
			case !errors.Is(err, store.ErrPrecondition):
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	got, _ := read(t, s, "folder/k")
	if want := fmt.Sprint("racer ", winner.Load()); wins.Load() != 1 || got != want {
		t.Errorf("%d of %d writers won, the last of them %q; the object is %q", wins.Load(), racers, want, got)
	}
	holds(t, s, "folder/k")
}

func testRaceAbsent(t *testing.T, s store.Store) { race(t, s, store.IfAbsent()) }

func testRaceMatch(t *testing.T, s store.Store) {
	for i := range 4 {
		race(t, s, store.IfMatch(put(t, s, "folder/k", fmt.Sprint("before ", i)).ETag))
	}
}

// Versions differ in length and content, so that a mixture of two is seen.
func testReadersAndWriters(t *testing.T, s store.Store) {
	version := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), 1000+i) }
	put(t, s, "k", version(0))
	parallel(8, 160, func(i int) error {
		if i%4 == 0 {
			_, err := tryPut(t, s, "k", version(i), store.Condition{})
			return err
		}
		data, ref, err := store.ReadObject(t.Context(), s, "k", nil, 1<<20)
		if err == nil && (len(data) < 1000 || string(data) != version(len(data)-1000) || ref.Size != int64(len(data))) {
			err = fmt.Errorf("%d bytes that are no version, of %+v", len(data), ref)
		}
		return err
	}, t)
}

func testWrongSize(t *testing.T, s store.Store) {
	for _, size := range []int64{0, 9, 11, 9 << 20} {
		if _, err := s.Put(t.Context(), "k", strings.NewReader("0123456789"), size, store.Condition{}); err == nil {
			t.Errorf("10 bytes were announced as %d", size)
		}
	}
	holds(t, s)
	body := strings.NewReader("skipped, kept")
	if _, err := body.Seek(9, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "k", body, 4, store.Condition{}); err != nil {
		t.Error(err)
	}
	if got, _ := read(t, s, "k"); got != "kept" {
		t.Errorf("the rest of a body was written as %q", got)
	}
}

// cancelling cancels a context when so many bytes have been read.
type cancelling struct {
	*bytes.Reader
	after  int64
	cancel func()
}

func (c *cancelling) Read(p []byte) (int, error) {
	if at, _ := c.Seek(0, io.SeekCurrent); at >= c.after {
		c.cancel()
	}
	return c.Reader.Read(p[:min(len(p), 4096)])
}

func testCancelPut(t *testing.T, s store.Store) {
	for _, size := range []int64{100 << 10, 17 << 20} {
		ctx, cancel := context.WithCancel(t.Context())
		body := &cancelling{bytes.NewReader(make([]byte, size)), size / 2, cancel}
		if _, err := s.Put(ctx, "k", body, size, store.Condition{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%d bytes, cancelled in the middle: %v", size, err)
		}
		cancel()
		holds(t, s)
	}
}
