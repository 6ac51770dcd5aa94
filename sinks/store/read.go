package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/facet-search/facet/pipeline"
)

// ErrTooLarge means that an object has more bytes than the reader allows.
var ErrTooLarge = errors.New("the object is over the limit")

// readTries are attempts at a whole object. The SDK tries a request again, but not a body that breaks
// off.
const readTries = 5

// ReadObject reads a whole object of at most limit bytes into buf, or into a new slice if it has no
// room. A body that breaks off, or that isn't as long as the store said, is read again.
func ReadObject(ctx context.Context, s Reader, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	var ref pipeline.Ref
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval = 50 * time.Millisecond
	data, err := backoff.Retry(ctx, func() (data []byte, err error) {
		data, ref, err = readOnce(ctx, s, key, buf, limit)
		if permanent(err) {
			err = backoff.Permanent(err)
		}
		return data, err
	}, backoff.WithBackOff(delays), backoff.WithMaxTries(readTries))
	return data, ref, err
}

func permanent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, ErrTooLarge)
}

func readOnce(ctx context.Context, s Reader, key string, buf []byte, limit int64) ([]byte, pipeline.Ref, error) {
	body, ref, err := s.Open(ctx, key)
	if err != nil {
		return nil, ref, err
	}
	defer body.Close()
	if ref.Size > limit {
		return nil, ref, fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, ref.Size, limit)
	}
	if int64(cap(buf)) < ref.Size {
		buf = make([]byte, ref.Size)
	}
	buf = buf[:ref.Size]
	if _, err := io.ReadFull(body, buf); err != nil {
		return nil, ref, fmt.Errorf("read %s: %w", key, err)
	}
	// The end must be where it was said to be; reading it also lets checksums be compared.
	var extra [1]byte
	if n, err := body.Read(extra[:]); n > 0 || err != nil && !errors.Is(err, io.EOF) {
		return nil, ref, fmt.Errorf("read %s: it goes on after %d bytes, or: %w", key, ref.Size, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return buf, ref, nil
}
