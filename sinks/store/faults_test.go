package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

// object is the content of object i: some are empty, most small, some of several parts.
func object(i int) string {
	n := i * 997 % 30_000
	if i%20 == 19 {
		n = 9 << 20
	}
	return strings.Repeat(fmt.Sprintf("%08d", i), n/8)
}

func put(ctx context.Context, s store.Store, key, data string, cond store.Condition) error {
	_, err := s.Put(ctx, key, strings.NewReader(data), int64(len(data)), cond)
	return err
}

// each calls do for 0…n-1, eight at a time.
func each(n int, do func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}

// With every fault there is, at up to a fifth of all requests, all is written, listed and read as if
// there were none. The server's first answer may be lost: a write whose condition then seems not to
// hold must know its own object.
func TestFaults(t *testing.T) {
	server := storetest.VersityGW(t)
	for _, share := range []float64{0.05, 0.2} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			proxy := storetest.NewFaulty(t, server, share, storetest.AllFaults...)
			s := open(t, fmt.Sprintf("s3://%s/faults/%v/", server.Bucket, share))
			const n = 120
			each(n, func(i int) {
				cond := store.Condition{}
				if i%2 == 1 {
					cond = store.IfAbsent()
				}
				if err := put(t.Context(), s, fmt.Sprintf("%03d", i), object(i), cond); err != nil {
					t.Error(err)
				}
			})
			checkListing(t, s, n)
			each(n, func(i int) { checkObject(t, s, fmt.Sprintf("%03d", i), object(i)) })
			if _, _, err := s.Open(t.Context(), "none"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what is not there: %v", err)
			}
			if err := put(t.Context(), s, "001", "", store.IfAbsent()); !errors.Is(err, store.ErrPrecondition) {
				t.Errorf("what is there already: %v", err)
			}
			if proxy.Faults() < int64(share*n) {
				t.Errorf("only %d faults", proxy.Faults())
			}
		})
	}
}

func checkListing(t *testing.T, s store.Store, n int) {
	t.Helper()
	for range 20 {
		i := 0
		for r, err := range s.List(t.Context(), "") {
			if want := fmt.Sprintf("%03d", i); err != nil || r.Key != want || r.Size != int64(len(object(i))) {
				t.Fatalf("entry %d is %+v, %v", i, r, err)
			}
			i++
		}
		if i != n {
			t.Fatalf("%d entries, want %d", i, n)
		}
	}
}

func checkObject(t *testing.T, s store.Store, key, want string) {
	got, ref, err := store.ReadObject(t.Context(), s, key, nil, 1<<30)
	if err != nil || string(got) != want || ref.Size != int64(len(want)) {
		t.Errorf("%s: %d bytes as %+v, %v; want %d", key, len(got), ref, err, len(want))
	}
}

// Each fault alone, at a third of all requests: whatever does not succeed is an error, never wrong bytes,
// a shorter listing, or an end where there is none.
func TestFaultsNeverLie(t *testing.T) {
	server := storetest.VersityGW(t)
	clean := open(t, "s3://"+server.Bucket+"/lies/")
	for i := range 20 {
		if err := put(t.Context(), clean, fmt.Sprintf("%03d", i), object(i), store.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, fault := range storetest.AllFaults {
		t.Run(string(fault), func(t *testing.T) {
			storetest.NewFaulty(t, server, 0.33, fault)
			s := open(t, "s3://"+server.Bucket+"/lies/")
			each(40, func(i int) {
				checkRead(t, s, i%20)
				checkRange(t, s, i%20)
			})
			checkKeys(t, s)
		})
	}
}

func checkRead(t *testing.T, s store.Store, i int) {
	body, ref, err := s.Open(t.Context(), fmt.Sprintf("%03d", i))
	if err != nil {
		checkError(t, err)
		return
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil {
		checkError(t, err)
		return
	}
	if string(got) != object(i) || ref.Size != int64(len(got)) {
		t.Errorf("%d: %d wrong bytes as %+v, want %d", i, len(got), ref, len(object(i)))
	}
}

func checkRange(t *testing.T, s store.Store, i int) {
	want := object(i)
	if len(want) < 100 {
		return
	}
	body, ref, err := s.OpenRange(t.Context(), fmt.Sprintf("%03d", i), 50, int64(len(want)))
	if err != nil {
		checkError(t, err)
		return
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil {
		checkError(t, err)
		return
	}
	if string(got) != want[50:] || ref.Size != int64(len(want)) {
		t.Errorf("%d: a range of %d wrong bytes as %+v, want %d", i, len(got), ref, len(want)-50)
	}
}

func checkKeys(t *testing.T, s store.Store) {
	var keys []string
	for r, err := range s.List(t.Context(), "") {
		if err != nil {
			checkError(t, err)
			return
		}
		keys = append(keys, r.Key)
	}
	if len(keys) != 20 || !slices.IsSorted(keys) {
		t.Errorf("listed %q", keys)
	}
}

// checkError refuses errors that would be taken for something else than a failure of the store.
func checkError(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, store.ErrPrecondition) {
		t.Errorf("a fault passes for %v", err)
	}
}

// Writers that race for one object while answers get lost: one wins, knows it, and is the only one.
func TestFaultsLeaveOneWinner(t *testing.T) {
	server := storetest.VersityGW(t)
	storetest.NewFaulty(t, server, 0.3, storetest.Lost)
	s := open(t, "s3://"+server.Bucket+"/race/")
	for round := range 5 {
		var won []string
		var mu sync.Mutex
		key := fmt.Sprint("k", round)
		each(16, func(i int) {
			err := put(t.Context(), s, key, fmt.Sprint("writer ", i), store.IfAbsent())
			if err == nil {
				mu.Lock()
				won = append(won, fmt.Sprint("writer ", i))
				mu.Unlock()
			} else if !errors.Is(err, store.ErrPrecondition) {
				t.Error(err)
			}
		})
		got, _, err := store.ReadObject(t.Context(), s, key, nil, 100)
		if err != nil || len(won) != 1 || string(got) != won[0] {
			t.Errorf("%q think that they won; the object is %q, %v", won, got, err)
		}
	}
}

// An answer that says no and breaks off while it says why is asked for again, until it is whole.
func TestFaultsInRefusals(t *testing.T) {
	server := storetest.VersityGW(t)
	s := open(t, "s3://"+server.Bucket+"/refusals/")
	if err := put(t.Context(), s, "k", "first", store.IfAbsent()); err != nil {
		t.Fatal(err)
	}
	storetest.NewFaulty(t, server, 0.4, storetest.Truncated, storetest.Shortened, storetest.Emptied)
	s = open(t, "s3://"+server.Bucket+"/refusals/")
	for range 40 {
		if err := put(t.Context(), s, "k", "second", store.IfAbsent()); !errors.Is(err, store.ErrPrecondition) {
			t.Errorf("what is there already: %v", err)
		}
	}
}
