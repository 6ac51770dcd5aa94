package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Unfinished is a write that was begun and has not been finished: its writer is at work, or has died.
type Unfinished struct {
	Key   string // of the object that it was to become; "" where the store does not say
	ID    string // tells it from others
	Bytes int64  // that it takes up; -1 where the store does not say
	Since time.Time
}

// Cleaner is a store in which a writer that dies leaves behind what no listing shows.
type Cleaner interface {
	// Unfinished yields the writes below the store's root that have not been finished.
	Unfinished(ctx context.Context) iter.Seq2[Unfinished, error]
	// Discard removes what such a write has left; that it is gone already is no error. A writer that is
	// still at work fails.
	Discard(ctx context.Context, u Unfinished) error
}

var (
	_ Cleaner = (*File)(nil)
	_ Cleaner = (*S3)(nil)
)

// Unfinished implements Cleaner.
func (s *File) Unfinished(context.Context) iter.Seq2[Unfinished, error] {
	return func(yield func(Unfinished, error) bool) {
		root, err := s.open()
		var entries []fs.DirEntry
		if err == nil {
			defer root.Close()
			entries, err = readDir(root, scratch)
		}
		if err != nil && !gone(err) {
			yield(Unfinished{}, fmt.Errorf("unfinished writes in %s: %w", s, err))
			return
		}
		for _, e := range entries {
			st, err := e.Info()
			if err == nil && !yield(Unfinished{ID: e.Name(), Bytes: st.Size(), Since: st.ModTime()}, nil) {
				return
			}
		}
	}
}

// Discard implements Cleaner.
func (s *File) Discard(_ context.Context, u Unfinished) error {
	root, err := s.open()
	if err == nil {
		defer root.Close()
		err = root.Remove(path.Join(scratch, path.Base(u.ID)))
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("discard unfinished write %s in %s: %w", u.ID, s, err)
	}
	return nil
}

// Unfinished implements Cleaner.
func (s *S3) Unfinished(ctx context.Context) iter.Seq2[Unfinished, error] {
	return func(yield func(Unfinished, error) bool) {
		in := &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &s.prefix}
		for {
			page, err := s.client.ListMultipartUploads(ctx, in)
			if err != nil {
				yield(Unfinished{}, fmt.Errorf("unfinished uploads in %s: %w", s, translate(err)))
				return
			}
			for _, u := range page.Uploads {
				key, below := strings.CutPrefix(aws.ToString(u.Key), s.prefix)
				if below && !yield(Unfinished{Key: key, ID: aws.ToString(u.UploadId), Bytes: -1, Since: aws.ToTime(u.Initiated)}, nil) {
					return
				}
			}
			if !aws.ToBool(page.IsTruncated) || aws.ToString(page.NextKeyMarker) == "" {
				return
			}
			in.KeyMarker, in.UploadIdMarker = page.NextKeyMarker, page.NextUploadIdMarker
		}
	}
}

// Discard implements Cleaner.
func (s *S3) Discard(ctx context.Context, u Unfinished) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &s.bucket, Key: aws.String(s.prefix + u.Key), UploadId: &u.ID,
	})
	if err != nil && code(err) != "NoSuchUpload" {
		return fmt.Errorf("discard unfinished upload of %s: %w", at(s, u.Key), translate(err))
	}
	return nil
}
