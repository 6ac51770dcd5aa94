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
// room. A body that breaks off, that isn't as long as the store said, or that does not match its
// checksum is read again; if that does not help, it is an ErrTruncated or the checksum's error.
func ReadObject(ctx context.Context, s Reader, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	var ref pipeline.Ref
	data, err := backoff.Retry(ctx, func() (data []byte, err error) {
		data, ref, err = readOnce(ctx, s, key, buf, limit)
		return data, err
	}, backoff.WithBackOff(newDelays()), backoff.WithMaxTries(readTries))
	return data, ref, err
}

// newDelays are the pauses before a body is read again.
func newDelays() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 5*time.Second
	return b
}

// readOnce marks as permanent what reading again won't change: to open has its own retries.
func readOnce(ctx context.Context, s Reader, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	body, ref, err := s.Open(ctx, key)
	if err != nil {
		return nil, ref, backoff.Permanent(err)
	}
	defer body.Close()
	if ref.Size > limit {
		return nil, ref, backoff.Permanent(fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, ref.Size, limit))
	}
	buf, err = fill(body, buf[:0], ref.Size)
	if errors.Is(err, ErrSilent) {
		err = backoff.Permanent(err)
	}
	if err != nil {
		return nil, ref, fmt.Errorf("read %q: %w", key, err)
	}
	return buf, ref, nil
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
