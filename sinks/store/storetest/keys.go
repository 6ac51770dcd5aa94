package storetest

import (
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/sinks/store"
)

// OddKeys try to leave the store, to be taken for other keys, or to break listings.
var OddKeys = []string{
	// Out of the store, spelt in every way.
	"..", "../escape", "a/../../escape", "a/../b", ".", "./a", "a/.", "a/..", "a//b", "//a", "/a", "/etc/passwd", "a/", "a/b/",
	"../../../../../../etc/passwd", "..\\a", "%2e%2e/a", "%2e%2e%2fa", "a/%2e%2e/b", "..%00/a", "\xc0\xae\xc0\xae/a", "..;/a",
	// Looks like dots and slashes, is none.
	"\u2024\u2024/a", "..\u200b/a", "a\u2215b", "a\uff0fb", "\uff0e\uff0e/a", "\u202egnp.exe", "Ａ", "а", "e\u0301", "é", "ﬁ", "fi", "\ufeffa",
	// Means something to a shell, a URL, a form or another system.
	" ", " a ", "a b", "a+b", "a%2Fb", "a&b<c>'\"", "a?b=c", "a?versionId=null", "a#b", "a\\b", "~", "~root/a", "$(x)", "*", "{a}", "-rf", "--", "C:\\a", "a:b",
	"...", "a.", "a..", "a ", "a. .", "b/c ", "b/c.", ".a", "..a", "a..b", "aux", "A", "a|b", ";", "\\\\host\\share",
	// Control characters, and what is no text.
	"tab\there", "new\nline", "bell\a", "return\r", "\x1b[2J", "\x7f", "\u0085", "nul\x00", "\xff\xfe", "\xed\xa0\x80", "a\x80", "😀/😀",
	// As long as S3 allows, longer, and longer than files allow.
	strings.Repeat("x", 255), strings.Repeat("y", 256), strings.Repeat("é", 127), strings.Repeat("é", 128), strings.Repeat("z", 1024),
	strings.Repeat("d/", 511) + "dd", strings.Repeat("w", 1025), strings.Repeat("long/", 40) + strings.Repeat("n", 200),
	// The store's own.
	".facet-tmp", ".facet-tmp/x", "a/.facet-tmp", "a/.facet-tmp/x", ".facet-tmpx",
}

func testOddKeys(t *testing.T, s store.Store) {
	for _, key := range OddKeys {
		ref, err := tryPut(t, s, key, "data of "+key, store.Condition{})
		if err != nil {
			holds(t, s)
			checkRefused(t, s, key)
			continue
		}
		if got, again := read(t, s, key); got != "data of "+key || !same(again, ref) {
			t.Errorf("%q: read %q as %+v, wrote %+v", key, got, again, ref)
		}
		holds(t, s, key)
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %q: %v", key, err)
		}
		holds(t, s)
	}
}

// checkRefused wants no object under a key that was refused.
func checkRefused(t *testing.T, s store.Store, key string) {
	t.Helper()
	if strings.Contains(key, "\x00") {
		return // a server on a file system fails on it, and so is asked again and again
	}
	if _, _, err := s.Open(t.Context(), key); err == nil {
		t.Errorf("%q was refused, and is there", key)
	}
}

// No odd key stands for another: all that a store takes are there side by side, each with its own data, and
// are listed as they were written, in order.
func testOddKeysTogether(t *testing.T, s store.Store) {
	var taken []string
	for _, key := range OddKeys {
		if len(key) > 300 { // takes long where folders are made for it
			continue
		}
		if _, err := tryPut(t, s, key, "data of "+key, store.IfAbsent()); err == nil {
			taken = append(taken, key)
		}
	}
	if len(taken) < 20 {
		t.Errorf("only %q are taken", taken)
	}
	for _, key := range taken {
		if got, _ := read(t, s, key); got != "data of "+key {
			t.Errorf("%q reads %q", key, got)
		}
	}
	slices.Sort(taken)
	holds(t, s, taken...)
}

// In folders an object and a folder cannot share their name: then the second one is refused, and nothing
// of it is written anywhere.
func testFolderOfSameName(t *testing.T, s store.Store) {
	for _, pair := range [][2]string{{"a", "a/b"}, {"x/y", "x"}, {"p", "p/q/r"}, {"u/v/w", "u/v"}} {
		put(t, s, pair[0], "first")
		_, err := tryPut(t, s, pair[1], "second", store.Condition{})
		if got, _ := read(t, s, pair[0]); got != "first" {
			t.Errorf("%s is %q after writing %s", pair[0], got, pair[1])
		}
		if err == nil {
			if got, _ := read(t, s, pair[1]); got != "second" {
				t.Errorf("%s is %q", pair[1], got)
			}
			if err := s.Delete(t.Context(), pair[1]); err != nil {
				t.Error(err)
			}
		}
		holds(t, s, pair[0])
		if err := s.Delete(t.Context(), pair[0]); err != nil {
			t.Error(err)
		}
		holds(t, s)
	}
}
