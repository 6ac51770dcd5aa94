// Package store keeps objects: immutable bytes under a key, listed in order, with one conditional
// write. Local folders, memory (for tests) and S3 are the same to whoever uses it.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/facet-search/facet/pipeline"
)

// Lister lists objects.
type Lister interface {
	// List yields the objects whose keys begin with prefix, in the order of their keys' bytes, a page
	// at a time. An object that comes or goes meanwhile may or may not be among them. The iteration
	// ends after the first error.
	List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error]
}

// Reader reads objects. Its errors are fs.ErrNotExist and fs.ErrPermission where that is what is
// wrong; others are the store's own, after retries.
type Reader interface {
	// Open opens an object and says which version of it. A body that ends before its stated size is
	// an error of Read, never a short object.
	Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error)
}

// Writer writes and deletes objects.
type Writer interface {
	// Put writes an object of size bytes, whole or not at all, and returns once it is durable. On a
	// condition that does not hold it is an ErrPrecondition and nothing is written.
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

// ErrPrecondition means that a conditional Put found the object in another state: somebody else won.
var ErrPrecondition = errors.New("the object is not in the expected state")

// Condition is what must hold for a Put; the zero value is nothing.
type Condition struct {
	absent bool
	etag   string
}

// IfAbsent wants that there is no such object yet.
func IfAbsent() Condition { return Condition{absent: true} }

// IfMatch wants the object to be the version of that ETag.
func IfMatch(etag string) Condition { return Condition{etag: etag} }

// ErrAddress means that an address names no store.
var ErrAddress = errors.New("bad address")

// Open opens the store at an address: s3://bucket/prefix/, file:///folder, mem://name, or a path.
// A folder need not exist yet.
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
		return OpenMem(rest), nil
	case scheme == "s3":
		return OpenS3(ctx, rest)
	}
	return nil, fmt.Errorf("%w: %q: %q is not a kind of store; write s3://bucket/prefix/ or a folder", ErrAddress, address, scheme)
}
