package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/sinks/store/storetest"
)

// Now and then an answer stops in the middle and the connection stays: what a patient reader gets is
// the object all the same, and one whose every answer stops is an ErrSilent, nothing else.
func TestSilence(t *testing.T) {
	server := storetest.VersityGW(t)
	clean := open(t, "s3://"+server.Bucket+"/silence/")
	for i := range 20 {
		if err := put(t.Context(), clean, fmt.Sprintf("%03d", i), object(i), store.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	storetest.NewFaulty(t, server, 0.3, storetest.Silent)
	s := open(t, "s3://"+server.Bucket+"/silence/")
	each(60, func(i int) {
		ctx := store.WithPatience(t.Context(), 100*time.Millisecond, 1000)
		got, _, err := store.ReadObject(ctx, s, fmt.Sprintf("%03d", i%20), nil, 1<<30)
		if err != nil && !strings.Contains(err.Error(), "goes silent") && !errors.Is(err, store.ErrTruncated) || err == nil && string(got) != object(i%20) {
			t.Errorf("%d: %d bytes, %v", i, len(got), err)
		}
	})
	always := storetest.NewFaulty(t, server, 1, storetest.Silent)
	s = open(t, "s3://"+server.Bucket+"/silence/")
	for _, times := range []int{1, 3} {
		before := always.Faults()
		_, _, err := store.ReadObject(store.WithPatience(t.Context(), 100*time.Millisecond, times), s, "003", nil, 1<<30)
		if n := always.Faults() - before; !errors.Is(err, store.ErrSilent) || n != int64(times) {
			t.Errorf("silent at every request, patience for %d: %v after %d", times, err, n)
		}
	}
}

// Errors that the server does answer with are waited for, however little patience there is.
func TestOutageIsNoSilence(t *testing.T) {
	server := storetest.VersityGW(t)
	if err := put(t.Context(), open(t, "s3://"+server.Bucket), "k", "data", store.Condition{}); err != nil {
		t.Fatal(err)
	}
	storetest.NewFaulty(t, server, 0.6, storetest.Internal, storetest.SlowDown, storetest.Refused)
	s := open(t, "s3://"+server.Bucket)
	for range 10 {
		got, _, err := store.ReadObject(store.WithPatience(t.Context(), 5*time.Second, 1), s, "k", nil, 100)
		if err != nil || string(got) != "data" {
			t.Errorf("%q, %v", got, err)
		}
	}
}

// A reader that takes its time is not the server's silence, and a cancelled one no silence either.
func TestPatienceIsForTheServer(t *testing.T) {
	server := storetest.VersityGW(t)
	data := strings.Repeat("x", 8<<20)
	if err := put(t.Context(), open(t, "s3://"+server.Bucket), "k", data, store.Condition{}); err != nil {
		t.Fatal(err)
	}
	s := open(t, "s3://"+server.Bucket)
	ctx, cancel := context.WithCancel(store.WithPatience(t.Context(), 2*time.Second, 1))
	defer cancel()
	body, _, err := s.Open(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	time.Sleep(3 * time.Second)
	if n, err := io.CopyN(io.Discard, body, 7<<20); err != nil {
		t.Errorf("after a pause: %d bytes, %v", n, err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrSilent) {
		t.Errorf("cancelled: %v", err)
	}
}

// Only is about requests that the filter picks.
func TestFaultsOfSomeRequests(t *testing.T) {
	server := storetest.VersityGW(t)
	proxy := storetest.NewFaulty(t, server, 1, storetest.Internal)
	proxy.Only(func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/no") })
	if err := put(t.Context(), open(t, "s3://"+server.Bucket), "yes", "", store.Condition{}); err != nil || proxy.Faults() != 0 {
		t.Errorf("%v after %d faults", err, proxy.Faults())
	}
}
