// Package store keeps objects: immutable bytes under a key, listed in order, with one conditional
// write. Local folders, memory (for tests) and S3 are the same to whoever uses it.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/facet-search/facet/pipeline"
)

// Keys are opaque bytes below the store's root. A store that cannot hold an object under some key
// refuses to write it; it never writes it under another.
//
// No error of a store is io.EOF, whatever the network said: whoever reads a listing or a body to its
// end must not take a failure for that end. Bodies, of course, end in a bare io.EOF.

// Lister lists objects.
type Lister interface {
	// List yields the objects whose keys begin with prefix, strictly ascending by their keys' bytes, a
	// page or folder at a time. An object that comes or goes meanwhile may or may not be among them;
	// every other one is. The iteration ends after the first error.
	List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error]
}

// Reader reads objects. Its errors are fs.ErrNotExist and fs.ErrPermission where that is what is
// wrong with the one object; others are the store's own, after retries.
type Reader interface {
	// Open opens an object and says which version of it: all bytes of the body are of that version.
	// A body that is shorter or longer than the object's size is an error of Read, never a short
	// object. The body ends with ctx.
	Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error)
	// OpenRange is Open for n > 0 bytes from offset off, or as many as there are. The Ref's size is
	// the whole object's. It is an ErrRange that the object has no byte at off.
	OpenRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, pipeline.Ref, error)
}

// Writer writes and deletes objects.
type Writer interface {
	// Put writes an object of size bytes, the rest of body, whole or not at all, and returns once it
	// is durable. Of several conditional writers, one wins; for the others it is an ErrPrecondition
	// and nothing is written. Body may be read several times.
	Put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error)
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, key string) error
}

// Store is a place for objects. Several goroutines may use it at once.
type Store interface {
	Lister
	Reader
	Writer
	fmt.Stringer // its address, without credentials
}

var (
	// ErrPrecondition means that a conditional Put found the object in another state: somebody else won.
	ErrPrecondition = errors.New("the object is not in the expected state")
	// ErrLocked means that another process was amid a write to the folder for as long as the writer waited.
	ErrLocked = errors.New("another process holds the folder's lock")
	// ErrRange means that an object has no byte where a range begins.
	ErrRange = errors.New("the object ends before the range")
	// ErrTruncated means that a body was not as long as the store had said.
	ErrTruncated = fmt.Errorf("truncated by the store: %w", io.ErrUnexpectedEOF)
	// ErrAddress means that an address names no store.
	ErrAddress = errors.New("bad address")
)

// Condition is what must hold for a Put; the zero value is nothing.
type Condition struct {
	absent, match bool
	etag          string
}

// IfAbsent wants that there is no such object yet.
func IfAbsent() Condition { return Condition{absent: true} }

// IfMatch wants the object to be the version of that ETag.
func IfMatch(etag string) Condition { return Condition{match: true, etag: etag} }

// holds tells whether the condition holds for an object's ETag.
func (c Condition) holds(exists bool, etag string) bool {
	return (!c.absent || !exists) && (!c.match || exists && etag == c.etag)
}

// Open opens the store at an address: s3://bucket/prefix/, file:///folder, mem://name, or a path.
// A folder or prefix need not exist yet; a bucket must.
func Open(ctx context.Context, address string) (Store, error) {
	scheme, rest, ok := strings.Cut(address, "://")
	switch {
	case address == "":
		return nil, fmt.Errorf("%w: it is empty; write s3://bucket/prefix/ or a folder", ErrAddress)
	case !ok:
		return OpenFile(address)
	case scheme == "file":
		return OpenFile(rest)
	case scheme == "mem":
		return OpenMem(rest)
	case scheme == "s3":
		return OpenS3(ctx, rest)
	}
	return nil, fmt.Errorf("%w: %q is not a kind of store; write s3://bucket/prefix/ or a folder", ErrAddress, scheme+"://")
}

// Split takes an object's address apart: the address of the widest store that holds it (the bucket,
// the file system), and its key there.
func Split(address string) (root, key string, err error) {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "file", address
	}
	if scheme == "file" {
		abs, err := filepath.Abs(rest)
		if err != nil || rest == "" {
			return "", "", fmt.Errorf("%w: %q names no file", ErrAddress, address)
		}
		return "file:///", strings.TrimPrefix(abs, "/"), nil
	}
	bucket, key, _ := strings.Cut(rest, "/")
	if key == "" {
		return "", "", fmt.Errorf("%w: it names a store, not an object in it; write %s://bucket/path/to/object", ErrAddress, scheme)
	}
	return scheme + "://" + bucket + "/", key, nil
}

// checkSize compares the announced size with the rest of the body.
func checkSize(body io.Seeker, size int64) error {
	at, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return fmt.Errorf("seek: %w", err)
	}
	end, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("seek: %w", err)
	}
	if end-at != size {
		return fmt.Errorf("the body has %d bytes, %d were announced", end-at, size)
	}
	_, err = body.Seek(at, io.SeekStart)
	return err
}

// at is an object's address for messages. A key is anybody's bytes: it must not write to a terminal or
// forge a line of a log.
func at(s fmt.Stringer, key string) string {
	address := s.String() + key
	if quoted := strconv.Quote(address); len(quoted) != len(address)+2 {
		return quoted
	}
	return address
}

// withoutEOF hides an io.EOF that an error wraps.
func withoutEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", err, io.ErrUnexpectedEOF) //nolint:errorlint // hidden on purpose
	}
	return err
}
