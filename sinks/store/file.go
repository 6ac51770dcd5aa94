package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/facet-search/facet/pipeline"
)

// tempPrefix marks files that are being written; they are no objects.
const tempPrefix = ".facet-tmp-"

// File is a store in a local folder: an object is a regular file, and its key the path below the
// root. Symbolic links are not followed out of the folder, and files that are no regular files are
// no objects. An ETag is made of the file's modification time, size and inode.
type File struct {
	dir  string
	root *os.Root // nil until the folder exists
}

// OpenFile opens the store in a folder, which is created by the first Put.
func OpenFile(dir string) (*File, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAddress, err)
	}
	if st, err := os.Stat(abs); err == nil && !st.IsDir() {
		return nil, fmt.Errorf("%w: %s is a file, not a folder", ErrAddress, dir)
	}
	return &File{dir: abs}, nil
}

func (s *File) String() string { return "file://" + s.dir }

// open opens the root, every access beneath which is confined to it by the system.
func (s *File) open() (*os.Root, error) { return os.OpenRoot(s.dir) }

// checkKey refuses keys that are no path below a folder.
func checkKey(key string) error {
	if !filepath.IsLocal(key) || filepath.Clean(key) != key || strings.ContainsRune(key, 0) ||
		strings.HasPrefix(filepath.Base(key), tempPrefix) {
		return fmt.Errorf("key %q cannot be a file below a folder: %w", key, fs.ErrInvalid)
	}
	return nil
}

func etagOf(st fs.FileInfo) string {
	var inode uint64
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%x-%x-%x", st.ModTime().UnixNano(), st.Size(), inode)
}

// List implements Lister. One folder's names are in memory at a time.
func (s *File) List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error] {
	return func(yield func(pipeline.Ref, error) bool) {
		root, err := s.open()
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err != nil {
			yield(pipeline.Ref{}, fmt.Errorf("list %s: %w", s, err))
			return
		}
		defer root.Close()
		s.walk(ctx, root, "", prefix, yield)
	}
}

// walk lists a folder; dir ends in a slash unless it is the root. It returns false to stop.
func (s *File) walk(ctx context.Context, root *os.Root, dir, prefix string, yield func(pipeline.Ref, error) bool) bool {
	entries, err := readDir(root, dir)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) || yield(pipeline.Ref{}, fmt.Errorf("list %s: %w", s, err)) && false
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return yield(pipeline.Ref{}, err) && false
		}
		key := dir + e.Name()
		switch {
		case e.IsDir():
			key += "/"
			if (strings.HasPrefix(key, prefix) || strings.HasPrefix(prefix, key)) && !s.walk(ctx, root, key, prefix, yield) {
				return false
			}
		case e.Type().IsRegular() && strings.HasPrefix(key, prefix) && !strings.HasPrefix(e.Name(), tempPrefix):
			st, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // it went away meanwhile
			}
			if err != nil {
				return yield(pipeline.Ref{}, fmt.Errorf("list %s: %w", s, err)) && false
			}
			if !yield(pipeline.Ref{Key: key, ETag: etagOf(st), Size: st.Size()}, nil) {
				return false
			}
		}
	}
	return true
}

// readDir returns a folder's entries in the order of the keys that begin with them: a folder's keys
// go on with a slash, which sorts behind "-" and ".".
func readDir(root *os.Root, dir string) ([]fs.DirEntry, error) {
	f, err := root.Open(cmp.Or(strings.TrimSuffix(dir, "/"), "."))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(sortName(a), sortName(b)) })
	return entries, err
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// Open implements Reader.
func (s *File) Open(_ context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	fail := func(err error) (io.ReadCloser, pipeline.Ref, error) {
		return nil, pipeline.Ref{}, fmt.Errorf("open %s/%s: %w", s, key, err)
	}
	if err := checkKey(key); err != nil {
		return fail(err)
	}
	root, err := s.open()
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	f, err := root.Open(key)
	if err != nil {
		return fail(err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return fail(err)
	}
	return f, pipeline.Ref{Key: key, ETag: etagOf(st), Size: st.Size()}, nil
}
