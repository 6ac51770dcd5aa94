package gallery

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/facet-search/facet/pipeline"
)

// opener is the part of an object store that a manifest needs.
type opener interface {
	Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error)
}

// spoolTries are attempts at a whole object, whose body may break off.
const spoolTries = 5

// spool copies an object into a file without a name, and returns its MD5 in hexadecimal. The rows are
// then read for as long as the images take, which no connection would last.
func spool(ctx context.Context, objects opener, key, dir string) (*os.File, string, error) {
	f, err := os.CreateTemp(dir, "facet-manifest-")
	if err != nil {
		return nil, "", err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, "", err
	}
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval = 50 * time.Millisecond
	sum, err := backoff.Retry(ctx, func() (string, error) { return copyTo(ctx, f, objects, key) },
		backoff.WithBackOff(delays), backoff.WithMaxTries(spoolTries))
	if err != nil {
		f.Close()
		return nil, "", err
	}
	return f, sum, nil
}

// copyTo marks as permanent what trying again won't change: to open has its own retries.
func copyTo(ctx context.Context, f *os.File, objects opener, key string) (string, error) {
	body, ref, err := objects.Open(ctx, key)
	if err != nil {
		return "", backoff.Permanent(err)
	}
	defer body.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", backoff.Permanent(err)
	}
	if err := f.Truncate(0); err != nil {
		return "", backoff.Permanent(err)
	}
	sum := md5.New()
	n, err := io.Copy(io.MultiWriter(f, sum), body)
	if err == nil && ref.Size >= 0 && n != ref.Size {
		err = fmt.Errorf("%d bytes of %d: %w", n, ref.Size, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return "", err
	}
	_, err = f.Seek(0, io.SeekStart)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// head returns the first bytes of a file, in which its format shows.
func head(f *os.File) ([]byte, error) {
	b := make([]byte, 512)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}
