package store_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/facet-search/facet/sinks/store"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func listed(t *testing.T, s store.Store) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	for r, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		sizes[r.Key] = r.Size
	}
	return sizes
}

// No link leads out of the folder or in circles, and none is left out of the listing silently.
func TestFileLinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600),
		os.Mkdir(in("folder"), 0o750), os.WriteFile(in("folder/file"), []byte("inside"), 0o600),
		os.Symlink("folder/file", in("to file")), os.Symlink("../to file", in("folder/to link")),
		os.Symlink(filepath.Join(outside, "secret"), in("out")), os.Symlink("../"+filepath.Base(outside)+"/secret", in("out by dots")),
		os.Symlink("folder", in("to folder")), os.Symlink(".", in("circle")), os.Symlink("loop", in("loop")),
		os.Symlink("nothing", in("dangling")), os.Symlink(outside, in("away")), syscall.Mkfifo(in("pipe"), 0o600))
	s := open(t, dir)
	want := map[string]int64{"folder/file": 6, "to file": 6, "folder/to link": 6, "out": -1, "out by dots": -1,
		"to folder": -1, "circle": -1, "loop": -1, "dangling": -1, "away": -1}
	if got := listed(t, s); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed %v, want %v", got, want)
	}
	for _, key := range []string{"folder/file", "to file", "folder/to link", "to folder/file"} {
		if data, _, err := store.ReadObject(t.Context(), s, key, nil, 100); string(data) != "inside" {
			t.Errorf("%s: %q, %v", key, data, err)
		}
	}
	for key, want := range map[string]error{
		"out": fs.ErrPermission, "out by dots": fs.ErrPermission, "away/secret": fs.ErrPermission, "loop": fs.ErrPermission,
		"to folder": fs.ErrPermission, "circle": fs.ErrPermission, "dangling": fs.ErrNotExist, "pipe": fs.ErrNotExist, "folder": fs.ErrNotExist,
	} {
		if _, _, err := s.Open(t.Context(), key); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", key, err, want)
		}
	}
	for _, key := range []string{"away/new", "to folder/../../x"} {
		if err := put(t.Context(), s, key, "x", store.Condition{}); err == nil {
			t.Errorf("%s was written", key)
		}
	}
	if entries, _ := os.ReadDir(outside); len(entries) != 1 {
		t.Errorf("%d files outside", len(entries))
	}
}

func TestFileModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	dir := filepath.Join(t.TempDir(), "new")
	must(t, put(t.Context(), open(t, dir), "a/b/c", "x", store.Condition{}))
	for name, want := range map[string]fs.FileMode{"": 0o750, "a": 0o750, "a/b": 0o750, "a/b/c": 0o640} {
		st, err := os.Stat(filepath.Join(dir, name))
		if must(t, err); st.Mode().Perm() != want {
			t.Errorf("%q has mode %o, want %o", name, st.Mode().Perm(), want)
		}
	}
}

// What a writer that died has left is no object, and goes when it is old.
func TestFileLeftovers(t *testing.T) {
	dir := t.TempDir()
	scratch := filepath.Join(dir, ".facet-tmp")
	must(t, os.Mkdir(scratch, 0o750))
	for name, age := range map[string]time.Duration{"old": 25 * time.Hour, "young": time.Hour} {
		path := filepath.Join(scratch, name)
		when := time.Now().Add(-age)
		must(t, os.WriteFile(path, []byte("half"), 0o600), os.Chtimes(path, when, when))
	}
	s := open(t, dir)
	if got := listed(t, s); len(got) != 0 {
		t.Errorf("listed %v", got)
	}
	must(t, put(t.Context(), s, "k", "x", store.Condition{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := put(ctx, s, "cancelled", "x", store.Condition{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	entries, err := os.ReadDir(scratch)
	if must(t, err); len(entries) != 1 || entries[0].Name() != "young" {
		t.Errorf("%v are left in the folder of temporary files", entries)
	}
}

// Files come and go while a folder is listed: no error, and nothing else is missing.
func TestFileListWhileChanging(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 200 {
		must(t, put(t.Context(), s, fmt.Sprintf("stays/%d", i), "x", store.Condition{}))
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			key := fmt.Sprintf("goes%d/%d", i%7, i%3)
			if err := errors.Join(put(context.Background(), s, key, "x", store.Condition{}), s.Delete(context.Background(), key)); err != nil {
				t.Error(err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 100 {
		stay := 0
		for key := range listed(t, s) {
			if strings.HasPrefix(key, "stays/") {
				stay++
			}
		}
		if stay != 200 {
			t.Errorf("%d of 200 files are listed", stay)
		}
	}
	close(stop)
	<-done
}

// Two stores on one folder, as two processes have them, exclude each other.
func TestFileStoresShareTheLock(t *testing.T) {
	dir := t.TempDir()
	must(t, put(t.Context(), open(t, dir), "counter", "0", store.Condition{}))
	const writers, each = 4, 25
	errs := make(chan error, writers)
	for range writers {
		s := open(t, dir)
		go func() { errs <- increment(t.Context(), s, each) }()
	}
	for range writers {
		must(t, <-errs)
	}
	data, _, err := store.ReadObject(t.Context(), open(t, dir), "counter", nil, 100)
	if must(t, err); string(data) != fmt.Sprint(writers*each) {
		t.Errorf("%d increments make %s", writers*each, data)
	}
}

func increment(ctx context.Context, s store.Store, times int) error {
	for times > 0 {
		data, ref, err := store.ReadObject(ctx, s, "counter", nil, 100)
		if err != nil {
			return err
		}
		var n int
		if _, err := fmt.Sscan(string(data), &n); err != nil {
			return err
		}
		err = put(ctx, s, "counter", fmt.Sprint(n+1), store.IfMatch(ref.ETag))
		switch {
		case err == nil:
			times--
		case !errors.Is(err, store.ErrPrecondition):
			return err
		}
	}
	return nil
}

func TestAddresses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for address, says := range map[string]string{
		"": "s3://bucket/prefix/", "s3://": "bucket", "s3:///x": "bucket", "gs://b/p": "gs://", "file://": "folder",
		"mem://": "name", file: "not a folder", "s3://key:hunter2@b/p": "credential",
	} {
		_, err := store.Open(t.Context(), address)
		if !errors.Is(err, store.ErrAddress) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want it to say %s", address, err, says)
		}
	}
	wd, err := os.Getwd()
	must(t, err)
	for address, want := range map[string]string{
		"s3://b": "s3://b/", "s3://b/p": "s3://b/p/", "s3://b/p/": "s3://b/p/", "mem://m/p": "mem://m/p/",
		"file:///x/y": "file:///x/y/", "x": "file://" + wd + "/x/", "/": "file:///",
	} {
		if got := open(t, address).String(); got != want {
			t.Errorf("%s is %s, want %s", address, got, want)
		}
	}
	for address, want := range map[string][2]string{
		"s3://b/p/list.csv": {"s3://b/", "p/list.csv"}, "mem://m/x": {"mem://m/", "x"}, "/a/list.csv": {"file:///", "a/list.csv"},
		"file:///a/b": {"file:///", "a/b"}, "list.csv": {"file:///", strings.TrimPrefix(wd, "/") + "/list.csv"},
	} {
		root, key, err := store.Split(address)
		if got := [2]string{root, key}; got != want || err != nil {
			t.Errorf("%s splits into %q, %v; want %q", address, got, err, want)
		}
	}
	for _, address := range []string{"", "s3://b", "s3://b/", "mem://m", "file://"} {
		if _, _, err := store.Split(address); !errors.Is(err, store.ErrAddress) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Stores of one root see the same; that of a deeper root sees its part, and nothing outside.
func TestRoots(t *testing.T) {
	for _, root := range []string{t.TempDir(), "mem://" + t.Name()} {
		outer, inner := open(t, root), open(t, root+"/in")
		must(t, put(t.Context(), outer, "in/a", "1", store.Condition{}), put(t.Context(), outer, "inside", "2", store.Condition{}),
			put(t.Context(), inner, "b", "3", store.Condition{}))
		if got := listed(t, inner); len(got) != 2 {
			t.Errorf("below %s are %v", inner, got)
		}
		if got := listed(t, open(t, root)); len(got) != 3 {
			t.Errorf("below %s are %v", outer, got)
		}
	}
}

// A key in a message cannot forge another line of it.
func TestMessagesQuoteKeys(t *testing.T) {
	for _, address := range []string{t.TempDir(), "mem://" + t.Name()} {
		_, _, err := open(t, address).Open(t.Context(), "x\nERROR: forged\x1b[2J")
		if err == nil || slices.ContainsFunc([]byte(err.Error()), func(b byte) bool { return b < ' ' }) {
			t.Errorf("%q", err)
		}
	}
}

// A process that is stopped while it holds the lock keeps nobody waiting without end: not one whose
// context ends, and no other longer than the store's patience. Then all is as before.
func TestFileLockIsHeld(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenFile(dir)
	must(t, err)
	put := func(ctx context.Context) error {
		_, err := s.Put(ctx, "a", strings.NewReader("x"), 1, store.Condition{})
		return err
	}
	must(t, put(t.Context()))
	holder, err := os.Open(dir)
	must(t, err)
	defer holder.Close()
	must(t, syscall.Flock(int(holder.Fd()), syscall.LOCK_EX))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := put(ctx); !errors.Is(err, store.ErrLocked) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("until the deadline: %v", err)
	}
	s.Hasten(50 * time.Millisecond)
	for what, err := range map[string]error{"put": put(t.Context()), "delete": s.Delete(t.Context(), "a")} {
		if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, syscall.Flock(int(holder.Fd()), syscall.LOCK_UN))
	must(t, put(t.Context()), s.Delete(t.Context(), "a"))
}
