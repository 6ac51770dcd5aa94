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

	"github.com/facet-search/facet/pipeline"
)

// Put implements Writer. The bytes go to a temporary file beside the object, are synced, and get
// their name in one step: a crash leaves the old object or the new one, and at worst a temporary
// file that is no object.
func (s *File) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error) {
	ref, err := s.put(ctx, key, body, size, cond)
	if err != nil {
		return pipeline.Ref{}, fmt.Errorf("write %s/%s: %w", s, key, err)
	}
	return ref, nil
}

func (s *File) put(ctx context.Context, key string, body io.Reader, size int64, cond Condition) (pipeline.Ref, error) {
	if err := errors.Join(checkKey(key), os.MkdirAll(s.dir, 0o750)); err != nil {
		return pipeline.Ref{}, err
	}
	root, err := s.open()
	if err != nil {
		return pipeline.Ref{}, err
	}
	defer root.Close()
	dir := path.Dir(key)
	if err := root.MkdirAll(dir, 0o750); err != nil {
		return pipeline.Ref{}, err
	}
	temp := path.Join(dir, tempPrefix+rand.Text())
	defer root.Remove(temp) // gone already when all went well
	st, err := writeTemp(ctx, root, temp, body, size)
	if err != nil {
		return pipeline.Ref{}, err
	}
	if err := s.name(root, temp, key, cond); err != nil {
		return pipeline.Ref{}, err
	}
	return pipeline.Ref{Key: key, ETag: etagOf(st), Size: size}, syncDir(root, dir)
}

func writeTemp(ctx context.Context, root *os.Root, temp string, body io.Reader, size int64) (fs.FileInfo, error) {
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(body, size+1))
	switch {
	case err != nil:
		return nil, err
	case n != size:
		return nil, fmt.Errorf("the body has %d bytes or more, %d were announced", n, size)
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return f.Stat()
}

// name gives the file its key if the condition holds. Conditional writers exclude each other by a
// lock on the root folder, which the system lets go of when a process dies.
func (s *File) name(root *os.Root, temp, key string, cond Condition) error {
	if cond == (Condition{}) {
		return root.Rename(temp, key)
	}
	lock, err := root.Open(".")
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	st, err := root.Lstat(key)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case cond.absent && err == nil, !cond.absent && (err != nil || etagOf(st) != cond.etag):
		return ErrPrecondition
	}
	return root.Rename(temp, key)
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Delete implements Writer.
func (s *File) Delete(_ context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	root, err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = root.Remove(key)
		root.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s/%s: %w", s, key, err)
	}
	return nil
}
