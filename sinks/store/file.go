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
	"sync"
	"syscall"
	"time"

	"github.com/facet-search/facet/pipeline"
)

// File is a store in a local folder: an object is a regular file, and its key the path below the
// root, byte for byte. An ETag is made of the file's modification time, size and inode.
//
// The operating system confines every access to the folder. A symbolic link to a file within it is
// read as that file. Any other link (out of the folder, to a folder, to nothing) is listed, with an
// unknown size, and refused when it is opened: nothing that looks like an image is left out silently,
// and no link leads outside or in circles. Devices, pipes and sockets are no objects.
type File struct {
	dir      string
	patience time.Duration // with who holds the lock
	sweep    sync.Once
}

// OpenFile opens the store in a folder, which is created by the first Put.
func OpenFile(dir string) (*File, error) {
	abs, err := filepath.Abs(dir)
	if err != nil || dir == "" {
		return nil, fmt.Errorf("%w: file://%s names no folder; write file:///path/to/folder", ErrAddress, dir)
	}
	if st, err := os.Stat(abs); err == nil && !st.IsDir() {
		return nil, fmt.Errorf("%w: %s is a file, not a folder", ErrAddress, dir)
	}
	return &File{dir: abs, patience: lockWait}, nil
}

func (s *File) String() string { return asFolder("file://" + s.dir) }

// open opens the root, every access beneath which is confined to it by the system.
func (s *File) open() (*os.Root, error) { return os.OpenRoot(s.dir) }

// isPath tells whether a key is the path of a possible file below a folder.
func isPath(key string) bool {
	return filepath.IsLocal(key) && filepath.Clean(key) == key && key != "." && !strings.ContainsRune(key, 0) &&
		!slices.Contains(strings.Split(key, "/"), scratch)
}

func etagOf(st fs.FileInfo) string {
	var inode uint64
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%x-%x-%x", st.ModTime().UnixNano(), st.Size(), inode)
}

// List implements Lister. The names of one folder and of those above it are in memory at a time.
func (s *File) List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error] {
	return func(yield func(pipeline.Ref, error) bool) {
		root, err := s.open()
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		if err == nil {
			defer root.Close()
			err = (&walk{ctx, root, prefix, yield}).folder("")
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(pipeline.Ref{}, fmt.Errorf("list %s: %w", s, err))
		}
	}
}

// errStop ends a walk whose consumer has had enough.
var errStop = errors.New("stop")

// walk is one listing of a folder tree.
type walk struct {
	ctx    context.Context
	root   *os.Root
	prefix string
	yield  func(pipeline.Ref, error) bool
}

// folder lists a folder; dir ends in a slash unless it is the root.
func (w *walk) folder(dir string) error {
	entries, err := readDir(w.root, dir)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := cmp.Or(w.ctx.Err(), w.entry(e, dir+e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) entry(e fs.DirEntry, key string) error {
	switch {
	case e.Name() == scratch:
		return nil
	case e.IsDir():
		key += "/"
		if strings.HasPrefix(key, w.prefix) || strings.HasPrefix(w.prefix, key) {
			return w.folder(key)
		}
		return nil
	case !strings.HasPrefix(key, w.prefix) || !e.Type().IsRegular() && e.Type() != fs.ModeSymlink:
		return nil
	}
	ref, err := w.ref(key, e.Type() == fs.ModeSymlink)
	if gone(err) {
		return nil
	}
	if err == nil && !w.yield(ref, nil) {
		return errStop
	}
	return err
}

// ref looks at a file, or at what a link leads to.
func (w *walk) ref(key string, link bool) (pipeline.Ref, error) {
	look := w.root.Lstat
	if link {
		look = w.root.Stat
	}
	st, err := look(key)
	if link && (err != nil || !st.Mode().IsRegular()) {
		return pipeline.Ref{Key: key, Size: -1}, nil
	}
	if err != nil {
		return pipeline.Ref{}, err
	}
	return pipeline.Ref{Key: key, ETag: etagOf(st), Size: st.Size()}, nil
}

// gone tells that a file or folder went away, or became the other, since it was seen.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
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
func (s *File) Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	f, ref, err := s.openFile(key)
	if err != nil {
		return nil, pipeline.Ref{}, fmt.Errorf("open %s: %w", at(s, key), err)
	}
	return fileBody{untilDone{ctx, f}, f}, ref, nil
}

// OpenRange implements Reader.
func (s *File) OpenRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, pipeline.Ref, error) {
	f, ref, err := s.openFile(key)
	if err == nil {
		if err = checkRange(ref, off, n); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, pipeline.Ref{}, fmt.Errorf("range of %s: %w", at(s, key), err)
	}
	return fileBody{untilDone{ctx, io.NewSectionReader(f, off, n)}, f}, ref, nil
}

type fileBody struct {
	io.Reader
	io.Closer
}

func (s *File) openFile(key string) (*os.File, pipeline.Ref, error) {
	if !isPath(key) {
		return nil, pipeline.Ref{}, fmt.Errorf("no file can have that key: %w", fs.ErrNotExist)
	}
	root, err := s.open()
	if err != nil {
		return nil, pipeline.Ref{}, err
	}
	defer root.Close()
	f, err := root.OpenFile(key, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would block
	if err != nil {
		return nil, pipeline.Ref{}, named(err)
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case st.Mode().IsRegular():
		return f, pipeline.Ref{Key: key, ETag: etagOf(st), Size: st.Size()}, nil
	default:
		err = notRegular(root, key)
	}
	f.Close()
	return nil, pipeline.Ref{}, err
}

// named gives the errors of os.Root the names that callers branch on.
func named(err error) error {
	err = withoutPath(err)
	var number syscall.Errno
	switch {
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ENAMETOOLONG):
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case errors.Is(err, syscall.ELOOP), !errors.As(err, &number): // os.Root names no error for an escape
		return fmt.Errorf("%w: a symbolic link leads out of the folder or in circles: %w", fs.ErrPermission, err)
	}
	return err
}

// withoutPath takes the path out of an error: it is a key, see at.
func withoutPath(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// notRegular says what is wrong with something that is no file: it was listed only if it is a link.
func notRegular(root *os.Root, key string) error {
	if st, err := root.Lstat(key); err == nil && st.Mode().Type() == fs.ModeSymlink {
		return fmt.Errorf("%w: it is a symbolic link to something that is no file", fs.ErrPermission)
	}
	return fmt.Errorf("%w: it is no file", fs.ErrNotExist)
}
