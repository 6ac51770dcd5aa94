package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/cenkalti/backoff/v5"

	"github.com/facet-search/facet/pipeline"
)

// bodyTries are attempts at the next byte of a body, each with its own attempts at a request.
const bodyTries = 6

// Open implements Reader. When the connection breaks off, the body goes on with the same version
// from where it stopped.
func (s *S3) Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	if err := checkInside(key); err != nil {
		return nil, pipeline.Ref{}, fmt.Errorf("open %s: %w", at(s, key), err)
	}
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + key)})
	if err != nil {
		return nil, pipeline.Ref{}, fmt.Errorf("open %s: %w", at(s, key), translate(err))
	}
	ref := pipeline.Ref{Key: key, ETag: unquote(out.ETag), Size: *out.ContentLength}
	return &body{ctx: ctx, store: s, ref: ref, end: ref.Size, part: out.Body}, ref, nil
}

// OpenRange implements Reader.
func (s *S3) OpenRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, pipeline.Ref, error) {
	if off < 0 || n <= 0 {
		return nil, pipeline.Ref{}, fmt.Errorf("range of %s: %d bytes from %d: %w", at(s, key), n, off, fs.ErrInvalid)
	}
	if err := checkInside(key); err != nil {
		return nil, pipeline.Ref{}, fmt.Errorf("range of %s: %w", at(s, key), err)
	}
	part, ref, err := s.openRange(ctx, key, off, n, nil)
	if err != nil {
		return nil, pipeline.Ref{}, fmt.Errorf("range of %s: %w", at(s, key), translate(err))
	}
	return &body{ctx: ctx, store: s, ref: ref, at: off, end: min(off+n, ref.Size), part: part}, ref, nil
}

// openRange asks for n bytes of one version, or of any if match is nil, and checks that it is what it
// gets.
func (s *S3) openRange(ctx context.Context, key string, off, n int64, match *string) (io.ReadCloser, pipeline.Ref, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.prefix + key), IfMatch: match,
		Range: aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1)),
	})
	if err != nil {
		return nil, pipeline.Ref{}, err
	}
	var first, last, size int64
	_, err = fmt.Sscanf(aws.ToString(out.ContentRange), "bytes %d-%d/%d", &first, &last, &size)
	if err != nil || first != off || last != min(off+n, size)-1 || *out.ContentLength != last-first+1 {
		out.Body.Close()
		return nil, pipeline.Ref{}, fmt.Errorf("%w: asked for %d bytes from %d, the answer is %q in %d bytes",
			ErrTruncated, n, off, aws.ToString(out.ContentRange), *out.ContentLength)
	}
	return out.Body, pipeline.Ref{Key: key, ETag: unquote(out.ETag), Size: size}, nil
}

// body is what an object holds between two offsets.
type body struct {
	ctx     context.Context
	store   *S3
	ref     pipeline.Ref
	at, end int64
	part    io.ReadCloser // from at on; nil: to be opened
	delays  *backoff.ExponentialBackOff
	tries   int // without a byte
	err     error
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (n int, err error) {
	for n == 0 && b.err == nil && len(p) > 0 {
		if b.part == nil {
			b.err = b.reopen()
			continue
		}
		n, err = b.part.Read(p)
		b.at += int64(n)
		if err != nil || b.at > b.end {
			b.ended(err)
		}
	}
	if n > 0 && b.at <= b.end {
		b.tries = 0
		return n, nil
	}
	return 0, b.err
}

// ended decides what the end of a part is: that of the body, or one to go on from.
func (b *body) ended(err error) {
	switch {
	case b.at > b.end:
		b.err = fmt.Errorf("%w: the body goes on after its %d bytes", ErrTruncated, b.ref.Size)
	case b.ctx.Err() != nil:
		b.err = b.ctx.Err()
	case b.at == b.end && errors.Is(err, io.EOF):
		b.err = io.EOF
	case errors.Is(err, ErrSilent):
		b.err = err
	case b.at == b.end: // a checksum that does not match: nothing to go on from
		b.err = withoutEOF(err)
	default:
		b.part.Close()
		b.part = nil
	}
}

// reopen goes on from where the body broke off.
func (b *body) reopen() error {
	if b.tries++; b.tries > bodyTries {
		return fmt.Errorf("%w: %d of %d bytes, and %d tries to go on failed", ErrTruncated, b.at, b.ref.Size, bodyTries)
	}
	if b.delays == nil {
		b.delays = newDelays()
	}
	select {
	case <-time.After(b.delays.NextBackOff()):
	case <-b.ctx.Done():
		return b.ctx.Err()
	}
	part, ref, err := b.store.openRange(b.ctx, b.ref.Key, b.at, b.end-b.at, quote(b.ref.ETag))
	switch {
	case code(err) == "PreconditionFailed", code(err) == "NoSuchKey":
		return fmt.Errorf("%w: %d of %d bytes; then the object was replaced", ErrTruncated, b.at, b.ref.Size)
	case code(err) == "InvalidRange":
		return fmt.Errorf("%w: %d bytes, of which the server had said that they are %d", ErrTruncated, b.at, b.ref.Size)
	case errors.Is(err, ErrTruncated):
		return nil // the server lied about the range; try again
	case err != nil:
		return translate(err)
	case ref.Size != b.ref.Size || ref.ETag != b.ref.ETag:
		part.Close()
		return fmt.Errorf("%w: the server said first that the object has %d bytes, then %d", ErrTruncated, b.ref.Size, ref.Size)
	}
	b.part = part
	return nil
}

// Close implements io.Closer.
func (b *body) Close() error {
	if b.part == nil {
		return nil
	}
	return b.part.Close()
}
