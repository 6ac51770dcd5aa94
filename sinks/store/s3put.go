package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/facet-search/facet/pipeline"
)

const (
	// partSize is that of multipart uploads, which begin at objects of that size. Six are in memory.
	partSize = 8 << 20
	// writerKey is the metadata by which a writer recognises its own object.
	writerKey = "facet-writer"
)

// Put implements Writer. A process that dies within a large Put may leave an incomplete multipart
// upload, which no listing shows: let the bucket's lifecycle rules remove such.
func (s *S3) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error) {
	etag, err := s.put(ctx, key, body, size, cond)
	if err != nil {
		return pipeline.Ref{}, fmt.Errorf("write %s: %w", at(s, key), translate(err))
	}
	return pipeline.Ref{Key: key, ETag: unquote(etag), Size: size}, nil
}

func (s *S3) put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (*string, error) {
	if err := errors.Join(checkPortable(key), checkSize(body, size)); err != nil {
		return nil, err
	}
	if cond.match && cond.etag == "" {
		return nil, ErrPrecondition // servers take an empty If-Match for none
	}
	u := &transfermanager.UploadObjectInput{
		Bucket: &s.bucket, Key: aws.String(s.prefix + key), Body: untilDoneSeeker{untilDone{ctx, body}, body},
		Metadata: map[string]string{writerKey: rand.Text()},
		// Of the object and not of its parts, which readers could not compare.
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32, ChecksumType: types.ChecksumTypeFullObject,
	}
	if cond.absent {
		u.IfNoneMatch = aws.String("*")
	}
	if cond.match {
		u.IfMatch = quote(cond.etag)
	}
	etag, err := s.upload(ctx, u, size)
	switch code(err) {
	case "PreconditionFailed", "NoSuchUpload":
		// Perhaps the answer to an earlier attempt was lost, and it is this very object that stands in
		// the way.
		if mine := s.written(ctx, u); mine != nil {
			return mine, nil
		}
	case "NoSuchKey": // there is no version to match
		return nil, fmt.Errorf("%w: %w", ErrPrecondition, errors.New("there is no such object"))
	}
	return etag, err
}

// checkPortable refuses to write keys that some servers silently take for another key: those that keep
// objects as files clean paths, and not every listing can hold every byte. Such keys can be read.
func checkPortable(key string) error {
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part == "." || part == ".." {
			return fmt.Errorf("the key %q has an empty part, or one of dots: %w", key, fs.ErrInvalid)
		}
	}
	if !utf8.ValidString(key) || strings.ContainsFunc(key, unicode.IsControl) {
		return fmt.Errorf("the key %q has control characters or is not UTF-8: %w", key, fs.ErrInvalid)
	}
	return nil
}

// checkInside refuses to read keys that would lead out of the store where a server cleans them as paths.
// Others that it might clean are read: to S3 itself they are keys like any.
func checkInside(key string) error {
	depth := 0
	for part := range strings.SplitSeq(key, "/") {
		switch part {
		case "", ".":
		case "..":
			depth--
		default:
			depth++
		}
		if depth < 0 {
			return fmt.Errorf("%w: the key %q leads out of the store", fs.ErrPermission, key)
		}
	}
	return nil
}

func (s *S3) upload(ctx context.Context, u *transfermanager.UploadObjectInput, size int64) (*string, error) {
	if size >= partSize {
		out, err := s.uploads.UploadObject(ctx, u)
		if err != nil {
			return nil, err
		}
		return out.ETag, nil
	}
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: u.Bucket, Key: u.Key, Body: u.Body, ContentLength: &size,
		IfNoneMatch: u.IfNoneMatch, IfMatch: u.IfMatch, Metadata: u.Metadata,
	})
	if err != nil {
		return nil, err
	}
	return out.ETag, nil
}

// written is the ETag of the object if it is the one that this very Put wrote.
func (s *S3) written(ctx context.Context, u *transfermanager.UploadObjectInput) *string {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: u.Bucket, Key: u.Key})
	if err != nil || out.Metadata[writerKey] != u.Metadata[writerKey] {
		return nil
	}
	return out.ETag
}

type untilDoneSeeker struct {
	untilDone
	io.Seeker
}

// Delete implements Writer.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := checkPortable(key); err != nil { // there may be another object that the server takes it for
		return fmt.Errorf("delete %s: %w", at(s, key), err)
	}
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + key)})
	if err != nil && code(err) != "NoSuchKey" {
		return fmt.Errorf("delete %s: %w", at(s, key), translate(err))
	}
	return nil
}
