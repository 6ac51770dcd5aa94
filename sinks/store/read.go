package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/facet-search/facet/pipeline"
)

// ErrTooLarge means that an object has more bytes than the reader allows.
var ErrTooLarge = errors.New("the object is over the limit")

const (
	// readTries are attempts at a whole object, beside the attempts at each request.
	readTries = 5
	// firstAllocation bounds what is allocated on the store's word alone.
	firstAllocation = 4 << 20
)

// ReadObject reads a whole object of at most limit bytes into buf, or into a new slice if it has no
// room. See Reread for what is tried again.
func ReadObject(ctx context.Context, s Reader, key string, buf []byte, limit int64) (data []byte, ref pipeline.Ref, err error) {
	err = Reread(ctx, s, key, func(body io.Reader, r pipeline.Ref) (err error) {
		if ref = r; r.Size > limit {
			return backoff.Permanent(fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, r.Size, limit))
		}
		data, err = fill(body, buf[:0], r.Size)
		return err
	})
	if err != nil {
		return nil, ref, err
	}
	return data, ref, nil
}

// Reread opens an object and has it read, from its beginning again if that fails: because the body breaks
// off, isn't as long as the store said, or does not match its checksum. If that does not help, it is an
// ErrTruncated or the checksum's error. What goes wrong before the body has been tried again already.
func Reread(ctx context.Context, s Reader, key string, read func(io.Reader, pipeline.Ref) error) error {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, readOnce(ctx, s, key, read)
	}, backoff.WithBackOff(newDelays()), backoff.WithMaxTries(readTries))
	return err
}

// readOnce marks as permanent what reading again won't change.
func readOnce(ctx context.Context, s Reader, key string, read func(io.Reader, pipeline.Ref) error) error {
	body, ref, err := s.Open(ctx, key)
	if err != nil {
		return backoff.Permanent(err)
	}
	defer body.Close()
	err = read(body, ref)
	if errors.Is(err, ErrSilent) {
		err = backoff.Permanent(err)
	}
	if err != nil {
		return fmt.Errorf("read %q: %w", key, err)
	}
	return nil
}

// newDelays are the pauses before a body is read again.
func newDelays() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 5*time.Second
	return b
}

// fill reads exactly size bytes and the end behind them, which is where checksums are compared.
func fill(body io.Reader, buf []byte, size int64) ([]byte, error) {
	for int64(len(buf)) < size {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, int(min(size-int64(len(buf)), max(firstAllocation, int64(len(buf))))))
		}
		n, err := body.Read(buf[len(buf):min(int64(cap(buf)), size)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) && int64(len(buf)) < size {
			return nil, fmt.Errorf("%w: %d of %d bytes", ErrTruncated, len(buf), size)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	var extra [1]byte
	switch n, err := io.ReadFull(body, extra[:]); {
	case n > 0:
		return nil, fmt.Errorf("the body goes on after its %d bytes", size)
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return buf, nil
}
