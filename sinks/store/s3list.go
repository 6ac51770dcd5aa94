package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/facet-search/facet/pipeline"
)

// List implements Lister. The prefix's own marker, an object with an empty key, is left out.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error] {
	return func(yield func(pipeline.Ref, error) bool) {
		err := s.list(ctx, prefix, func(r pipeline.Ref) bool { return yield(r, nil) })
		if err != nil {
			yield(pipeline.Ref{}, fmt.Errorf("list %s: %w", at(s, prefix), translate(err)))
		}
	}
}

func (s *S3) list(ctx context.Context, prefix string, yield func(pipeline.Ref) bool) error {
	in := &s3.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix),
		EncodingType: types.EncodingTypeUrl, // XML cannot hold every byte of a key
	}
	last := ""
	for {
		page, err := s.client.ListObjectsV2(ctx, in)
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			ref, err := s.listed(page, o, *in.Prefix)
			if err != nil {
				return err
			}
			if ref.Key == "" {
				continue
			}
			if ref.Key <= last { // a page that comes twice, too
				return fmt.Errorf("the server lists %q after %q: this needs a general-purpose bucket, listed in order", ref.Key, last)
			}
			last = ref.Key
			if !yield(ref) {
				return nil
			}
		}
		if !*page.IsTruncated {
			return nil
		}
		if in.ContinuationToken = page.NextContinuationToken; aws.ToString(in.ContinuationToken) == "" {
			return errors.New("the server says that the listing goes on, but not where")
		}
	}
}

// listed is one entry of a page, its key relative to the store.
func (s *S3) listed(page *s3.ListObjectsV2Output, o types.Object, prefix string) (pipeline.Ref, error) {
	full := aws.ToString(o.Key)
	if page.EncodingType == types.EncodingTypeUrl {
		var err error
		if full, err = url.QueryUnescape(full); err != nil {
			return pipeline.Ref{}, fmt.Errorf("key %q: %w", full, err)
		}
	}
	if !strings.HasPrefix(full, prefix) || o.Size == nil {
		return pipeline.Ref{}, fmt.Errorf("the server lists %q below %q, or without a size", full, prefix)
	}
	return pipeline.Ref{Key: full[len(s.prefix):], ETag: unquote(o.ETag), Size: *o.Size}, nil
}
