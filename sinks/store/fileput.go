package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"time"

	"github.com/facet-search/facet/pipeline"
)

const (
	// scratch is the folder, below the root, of files that are being written; whatever is called so
	// is no object.
	scratch = ".facet-tmp"
	// leftover is how old a file in scratch is when whoever wrote it must have died.
	leftover = 24 * time.Hour
	// lockWait is how long a writer waits for the lock that others hold for less than a millisecond or
	// one sync each. Who holds it longer has been stopped amid a write, or hangs with its file system.
	lockWait = 30 * time.Second
	// lockEvery is how often it tries.
	lockEvery = time.Millisecond
	// nameTries bounds the race with those who delete the last object of a folder, and the folder.
	nameTries = 16
)

// Put implements Writer. The bytes go to a temporary file, are synced, and get their name in one
// step: a crash leaves the old object or the new one, and at worst a temporary file, which a later Put
// removes. The folder must be on one file system.
func (s *File) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error) {
	ref, err := s.put(ctx, key, body, size, cond)
	if err != nil {
		return pipeline.Ref{}, fmt.Errorf("write %s: %w", at(s, key), withoutPath(err))
	}
	return ref, nil
}

func (s *File) put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error) {
	if !isPath(key) {
		return pipeline.Ref{}, fmt.Errorf("no file can have the key %q: %w", key, fs.ErrInvalid)
	}
	if err := errors.Join(checkSize(body, size), os.MkdirAll(path.Join(s.dir, scratch), 0o750)); err != nil {
		return pipeline.Ref{}, err
	}
	root, err := s.open()
	if err != nil {
		return pipeline.Ref{}, err
	}
	defer root.Close()
	s.sweep.Do(func() { sweep(root) })
	temp := path.Join(scratch, rand.Text())
	defer root.Remove(temp) //nolint:errcheck // gone already when all went well
	st, err := writeTemp(ctx, root, temp, body)
	if err != nil {
		return pipeline.Ref{}, err
	}
	return pipeline.Ref{Key: key, ETag: etagOf(st), Size: st.Size()}, s.name(ctx, root, temp, key, cond)
}

// sweep removes what writers who died have left. It is in nobody's way, so it does not report.
func sweep(root *os.Root) {
	entries, err := readDir(root, scratch)
	if err != nil {
		return
	}
	for _, e := range entries {
		if st, err := root.Lstat(path.Join(scratch, e.Name())); err == nil && time.Since(st.ModTime()) > leftover {
			_ = root.Remove(path.Join(scratch, e.Name()))
		}
	}
}

func writeTemp(ctx context.Context, root *os.Root, temp string, body io.Reader) (fs.FileInfo, error) {
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := io.Copy(f, untilDone{ctx, body}); err != nil {
		return nil, err
	}
	// The kernel's own clock for files ticks in milliseconds, too slowly to tell versions apart.
	now := time.Now()
	if err := errors.Join(root.Chtimes(temp, now, now), f.Sync()); err != nil {
		return nil, err
	}
	return f.Stat()
}

// name gives the temporary file its key, durably, if the condition holds.
func (s *File) name(ctx context.Context, root *os.Root, temp, key string, cond Condition) (err error) {
	dir := path.Dir(key)
	made := false
	for range nameTries {
		if err = s.rename(ctx, root, temp, key, cond); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		made = true
		if err = root.MkdirAll(dir, 0o750); err != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	for ; made && dir != "."; dir = path.Dir(dir) {
		if err := syncDir(root, dir); err != nil {
			return err
		}
	}
	return syncDir(root, dir)
}

// rename is done by one writer at a time, in all processes, so that nothing comes between a condition
// and what depends on it.
func (s *File) rename(ctx context.Context, root *os.Root, temp, key string, cond Condition) error {
	unlock, err := s.lock(ctx, root)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := root.Lstat(key)
	switch {
	case err == nil && st.IsDir():
		return fmt.Errorf("it is a folder, with other objects in it: %w", syscall.EISDIR)
	case err == nil && !cond.holds(true, etagOf(st)), gone(err) && !cond.holds(false, ""):
		return ErrPrecondition
	case err != nil && !gone(err):
		return err
	}
	return root.Rename(temp, key)
}

// lock locks the root folder itself. The system lets go of it when a process dies, but not when it is
// stopped: waiting ends with the context, or with ErrLocked.
func (s *File) lock(ctx context.Context, root *os.Root) (unlock func(), err error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	for begun := time.Now(); ; {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { f.Close() }, nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EWOULDBLOCK):
			err = fmt.Errorf("lock: %w", err)
		case time.Since(begun) > s.patience:
			err = fmt.Errorf("%w for %v; find it with fuser %s and wake it or end it", ErrLocked, s.patience, s.dir)
		default:
			select {
			case <-ctx.Done():
				err = fmt.Errorf("%w: %w", ErrLocked, context.Cause(ctx))
			case <-time.After(lockEvery):
				continue
			}
		}
		f.Close()
		return nil, err
	}
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Delete implements Writer. Folders that are empty then go, too: there are none in an object store.
func (s *File) Delete(ctx context.Context, key string) error {
	if !isPath(key) {
		return fmt.Errorf("delete %s: no file can have that key: %w", at(s, key), fs.ErrInvalid)
	}
	root, err := s.open()
	if err == nil {
		defer root.Close()
		err = s.remove(ctx, root, key)
	}
	if err != nil && !gone(err) && !errors.Is(err, syscall.ENAMETOOLONG) {
		return fmt.Errorf("delete %s: %w", at(s, key), withoutPath(err))
	}
	return nil
}

func (s *File) remove(ctx context.Context, root *os.Root, key string) error {
	unlock, err := s.lock(ctx, root)
	if err != nil {
		return err
	}
	defer unlock()
	if st, err := root.Lstat(key); err != nil || st.IsDir() {
		return err
	}
	if err := root.Remove(key); err != nil {
		return err
	}
	dir := path.Dir(key)
	err = syncDir(root, dir)
	for ; dir != "." && root.Remove(dir) == nil; dir = path.Dir(dir) {
	}
	return err
}
