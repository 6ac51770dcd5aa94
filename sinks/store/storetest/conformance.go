package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks/store"
)

// Conformance tests what every store promises. open returns an empty store at each call.
func Conformance(t *testing.T, open func(t *testing.T) store.Store) {
	for name, test := range map[string]func(*testing.T, store.Store){
		"an object is read as it was written":      testRoundTrip,
		"an overwritten object has another ETag":   testOverwrite,
		"what is not there":                        testMissing,
		"listings are in order and by prefix":      testList,
		"listings of several pages":                testPages,
		"a listing may be left early":              testListStops,
		"ranges":                                   testRanges,
		"objects of several parts":                 testLarge,
		"conditions":                               testConditions,
		"one writer wins where none was before":    testRaceAbsent,
		"one writer wins over a version":           testRaceMatch,
		"readers see whole versions":               testReadersAndWriters,
		"odd keys are refused or kept as they are": testOddKeys,
		"odd keys stand for themselves":            testOddKeysTogether,
		"an object and a folder of its name":       testFolderOfSameName,
		"a body of another size is not written":    testWrongSize,
		"cancelling a write leaves nothing":        testCancelPut,
		"cancelling ends reads and listings":       testCancelRead,
		"whole objects up to a limit":              testReadObject,
		"writes that were begun and not finished":  testUnfinished,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put(t testing.TB, s store.Store, key, data string) pipeline.Ref {
	t.Helper()
	ref, err := s.Put(t.Context(), key, strings.NewReader(data), int64(len(data)), store.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func read(t testing.TB, s store.Store, key string) (string, pipeline.Ref) {
	t.Helper()
	body, ref, err := s.Open(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatalf("read %q: %v", key, err)
	}
	return string(data), ref
}

func list(t testing.TB, s store.Store, prefix string) []pipeline.Ref {
	t.Helper()
	var refs []pipeline.Ref
	for r, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, r)
	}
	return refs
}

func keys(refs []pipeline.Ref) []string {
	k := []string{}
	for _, r := range refs {
		k = append(k, r.Key)
	}
	return k
}

// holds fails the test unless the store holds exactly these keys.
func holds(t testing.TB, s store.Store, want ...string) {
	t.Helper()
	if got := keys(list(t, s, "")); !slices.Equal(got, append([]string{}, want...)) {
		t.Errorf("the store holds %q, want %q", got, want)
	}
}

func same(a, b pipeline.Ref) bool { return a.Key == b.Key && a.ETag == b.ETag && a.Size == b.Size }

func testRoundTrip(t *testing.T, s store.Store) {
	holds(t, s)
	for key, data := range map[string]string{"empty": "", "folder/one byte": "x", "binary": "\x00\xff\r\n\x1a"} {
		written := put(t, s, key, data)
		got, ref := read(t, s, key)
		if got != data || !same(ref, written) || ref.ETag == "" || ref.Size != int64(len(data)) {
			t.Errorf("%s: wrote %q as %+v, read %q as %+v", key, data, written, got, ref)
		}
		if l := list(t, s, key); len(l) != 1 || !same(l[0], written) {
			t.Errorf("%s: wrote %+v, listed %+v", key, written, l)
		}
	}
}

func testOverwrite(t *testing.T, s store.Store) {
	seen := map[string]bool{}
	for _, data := range []string{"one", "two", "three", "six"} {
		ref := put(t, s, "k", data)
		if seen[ref.ETag] {
			t.Errorf("%q has the ETag of an earlier version", data)
		}
		seen[ref.ETag] = true
		if got, again := read(t, s, "k"); got != data || !same(again, ref) {
			t.Errorf("read %q as %+v, want %q as %+v", got, again, data, ref)
		}
	}
}

func testMissing(t *testing.T, s store.Store) {
	put(t, s, "folder/object", "x")
	for _, key := range []string{"none", "folder", "folder/none", "folder/object/below", strings.Repeat("long", 200)} {
		if _, _, err := s.Open(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("open %q: %v", key, err)
		}
		if _, _, err := s.OpenRange(t.Context(), key, 0, 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("range of %q: %v", key, err)
		}
		if _, _, err := store.ReadObject(t.Context(), s, key, nil, 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %q: %v", key, err)
		}
		if key == "folder/object/below" || len(key) > 255 {
			continue // keys that a server on a file system may refuse
		}
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete what is not there: %v", err)
		}
	}
	for range 2 {
		if err := s.Delete(t.Context(), "folder/object"); err != nil {
			t.Error(err)
		}
	}
	holds(t, s)
	put(t, s, "folder", "no folder is left over, so this name is free")
}

func testList(t *testing.T, s store.Store) {
	// '-' and '.' sort before '/', '0' behind it; so do bytes, not letters, decide.
	all := []string{"Z", "a-b", "a.b", "a/b", "a/c/d", "a/c/e", "a/c0", "a0", "aa/x", "b/c/d/e", "é", "日本/語"}
	for _, k := range all {
		put(t, s, k, "data of "+k)
	}
	for _, prefix := range []string{"", "a", "a/", "a/c", "a/c/", "a/c/d", "a/c/d/", "b", "b/c/d/e", "x", "é", "日"} {
		want := slices.DeleteFunc(slices.Clone(all), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		if got := keys(list(t, s, prefix)); !slices.Equal(got, want) {
			t.Errorf("below %q are %q, want %q", prefix, got, want)
		}
	}
}

func testPages(t *testing.T, s store.Store) {
	const n = 2500
	var want []string
	parallel(16, n, func(i int) error {
		_, err := s.Put(t.Context(), pageKey(i), bytes.NewReader(nil), 0, store.Condition{})
		return err
	}, t)
	for i := range n {
		want = append(want, pageKey(i))
	}
	slices.Sort(want)
	if got := keys(list(t, s, "")); !slices.Equal(got, want) {
		t.Errorf("%d keys are listed, want %d", len(got), n)
	}
}

func pageKey(i int) string { return fmt.Sprintf("%d/%d", i%7, i) }

func testListStops(t *testing.T, s store.Store) {
	for i := range 5 {
		put(t, s, fmt.Sprintf("%d/x", i), "")
	}
	n := 0
	for _, err := range s.List(t.Context(), "") {
		if n++; err != nil || n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("the iteration was left at entry %d, want 2", n)
	}
}

func testRanges(t *testing.T, s store.Store) {
	put(t, s, "k", "0123456789")
	put(t, s, "empty", "")
	for _, c := range []struct {
		off, n int64
		want   string
	}{{0, 1, "0"}, {0, 10, "0123456789"}, {3, 4, "3456"}, {8, 100, "89"}, {9, 1, "9"}} {
		body, ref, err := s.OpenRange(t.Context(), "k", c.off, c.n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		body.Close()
		if string(got) != c.want || err != nil || ref.Size != 10 || ref.ETag == "" {
			t.Errorf("%d bytes from %d are %q of %+v, %v; want %q", c.n, c.off, got, ref, err, c.want)
		}
	}
	for _, off := range []int64{10, 11, 1000} {
		if _, _, err := s.OpenRange(t.Context(), "k", off, 5); !errors.Is(err, store.ErrRange) || errors.Is(err, io.EOF) {
			t.Errorf("from %d of 10 bytes: %v", off, err)
		}
	}
	if _, _, err := s.OpenRange(t.Context(), "empty", 0, 5); !errors.Is(err, store.ErrRange) {
		t.Errorf("of no bytes: %v", err)
	}
	for _, c := range [][2]int64{{-1, 5}, {0, 0}, {0, -1}} {
		if _, _, err := s.OpenRange(t.Context(), "k", c[0], c[1]); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%d bytes from %d: %v", c[1], c[0], err)
		}
	}
}

func testReadObject(t *testing.T, s store.Store) {
	put(t, s, "k", "0123456789")
	buf := make([]byte, 0, 64)
	data, ref, err := store.ReadObject(t.Context(), s, "k", buf, 10)
	if string(data) != "0123456789" || err != nil || ref.Size != 10 {
		t.Errorf("read %q as %+v: %v", data, ref, err)
	}
	if &data[0] != &buf[:1][0] {
		t.Error("the buffer had room, but was not used")
	}
	if _, _, err := store.ReadObject(t.Context(), s, "k", nil, 9); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("10 bytes, limit 9: %v", err)
	}
}

func testCancelRead(t *testing.T, s store.Store) {
	put(t, s, "k", strings.Repeat("x", 9<<20))
	put(t, s, "l", "")
	ctx, cancel := context.WithCancel(t.Context())
	body, _, err := s.Open(ctx, "k")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	next, stop := pull(s.List(ctx, ""))
	defer stop()
	if _, err, _ := next(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, body); !errors.Is(err, context.Canceled) {
		t.Errorf("reading: %v", err)
	}
	for _, err := range s.List(ctx, "") {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("listing: %v", err)
		}
	}
	if _, _, err := store.ReadObject(ctx, s, "k", nil, 1<<30); !errors.Is(err, context.Canceled) {
		t.Errorf("reading an object: %v", err)
	}
}
