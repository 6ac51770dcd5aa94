package stages

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"unicode/utf8"

	"github.com/facet-search/facet/pipeline"
)

// ErrTooLarge is what Objects return for an object over the limit.
var ErrTooLarge = errors.New("object is over the limit")

// ErrSilent is what Objects return for an object of which they wait for a byte in vain, Silences times.
var ErrSilent = errors.New("the store goes silent")

// Silences is how often the store may go silent about an image before it is given up.
const Silences = 3

// Objects reads whole objects of a gallery.
type Objects interface {
	// ReadObject reads an object into buf, or into a larger slice, and returns it with what the store
	// says of the object that was really read. Retries are its own. Its errors are fs.ErrNotExist,
	// fs.ErrPermission and ErrTooLarge, all three the image's own fault; ErrSilent, which may be; and
	// others, which are not.
	ReadObject(ctx context.Context, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error)
}

// Fetch reads the bytes of images. It is a pipeline.Stage.
//
// What goes wrong with the store is tried again by Objects, with back-off and jitter, and if that does
// not help it is the job's error: an outage never puts an image into quarantine. Silence is the one
// failure that can be the image's or the store's. An image that the store goes silent about is rejected
// as timed out only if the store then still hands out another one; otherwise it is the job's error.
type Fetch struct {
	objects Objects
	limit   int64
	buffers *Buffers
	witness atomic.Pointer[string] // the key that was read last
}

// NewFetch reads images of at most limit bytes. Their memory goes back to buffers after decoding.
func NewFetch(objects Objects, limit int64, buffers *Buffers) *Fetch {
	return &Fetch{objects: objects, limit: limit, buffers: buffers}
}

// Process implements pipeline.Stage.
func (f *Fetch) Process(ctx context.Context, it *Admitted) (*Admitted, error) {
	switch {
	case it.Reject != nil, it.Need == pipeline.NeedNothing: // settled by an earlier night
		return it, nil
	case !utf8.ValidString(it.Key):
		it.Reject = reject(pipeline.Unsupported, errors.New("the key is not valid UTF-8, so no table can hold it; rename the object"))
		return it, nil
	case it.Size > f.limit:
		it.Reject = reject(pipeline.TooLarge, fmt.Errorf("%d bytes, limits.bytes is %d", it.Size, f.limit))
		return it, nil
	}
	data, ref, err := f.objects.ReadObject(ctx, it.Key, f.buffers.Get(int(max(it.Size, 0))), f.limit)
	if err != nil {
		it.Reject = f.reject(ctx, err)
		if it.Reject == nil {
			return nil, fmt.Errorf("%q: %w", it.Key, err)
		}
		return it, nil
	}
	// The listing may be older than the object: what was read is what counts.
	it.ETag, it.Size = ref.ETag, int64(len(data))
	if len(data) == 0 {
		it.Reject = reject(pipeline.Empty, errors.New("zero bytes"))
		return it, nil
	}
	it.Data, it.ContentHash = data, sha256.Sum256(data)
	f.witness.Store(&it.Key)
	return it, nil
}

// What the quarantine says of objects that the store does not hand out. The store's own words differ from
// request to request, and the quarantine's bytes must not.
var (
	errGone   = errors.New("listed, but no longer there")
	errDenied = errors.New("the store refuses to hand it out; see its policy and its storage class")
)

// reject says whether a failure is the image's own; nil means that it is the store's.
func (f *Fetch) reject(ctx context.Context, err error) *pipeline.Reject {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return reject(pipeline.Gone, errGone)
	case errors.Is(err, fs.ErrPermission):
		return reject(pipeline.Denied, errDenied)
	case errors.Is(err, ErrTooLarge):
		return reject(pipeline.TooLarge, fmt.Errorf("over limits.bytes, which is %d", f.limit))
	case errors.Is(err, ErrSilent) && f.answers(ctx):
		return reject(pipeline.TimedOut, err)
	}
	return nil
}

// answers tells whether the store hands out the image that was read last once more.
func (f *Fetch) answers(ctx context.Context) bool {
	key := f.witness.Load()
	if key == nil {
		return false
	}
	data, _, err := f.objects.ReadObject(ctx, *key, f.buffers.Get(0), f.limit)
	if err == nil {
		f.buffers.Put(data)
	}
	return err == nil
}

func reject(r pipeline.Reason, err error) *pipeline.Reject {
	return &pipeline.Reject{Reason: r, Err: err}
}
