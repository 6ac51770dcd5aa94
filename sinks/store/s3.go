package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/facet-search/facet/pipeline"
)

const (
	// attempts at a request, with the SDK's exponential back-off and jitter of up to 20 s between them:
	// a store may be out for a minute.
	attempts = 8
	// multipartFrom is the size from which an object is written in parts.
	multipartFrom = 32 << 20
)

// S3 is a store in a bucket, below a prefix. Credentials, region and endpoint come from the SDK's own
// chain. Requests and bodies carry checksums both ways.
type S3 struct {
	client   *s3.Client
	uploads  *transfermanager.Client
	bucket   string
	prefix   string // "" or ending in a slash
	pageSize int32  // keys a page; 0: the server's
}

// OpenS3 opens the store at bucket/prefix.
func OpenS3(ctx context.Context, address string) (*S3, error) {
	bucket, prefix, _ := strings.Cut(address, "/")
	if bucket == "" {
		return nil, fmt.Errorf("%w: s3://%s names no bucket; write s3://bucket/prefix/", ErrAddress, address)
	}
	if prefix != "" && !strings.HasSuffix(prefix, "/") {
		prefix += "/"
	}
	c, err := config.LoadDefaultConfig(ctx, config.WithRetryer(func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			// The token bucket would give up early when many requests fail together, which is just
			// when a nightly job should wait.
			o.RateLimiter = noLimit{}
		})
	}))
	if err != nil {
		return nil, fmt.Errorf("configure S3: %w", err)
	}
	if c.Region == "" {
		c.Region = "us-east-1" // endpoints other than AWS's rarely care
	}
	client := s3.NewFromConfig(c, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil || c.BaseEndpoint != nil
		o.DisableLogOutputChecksumValidationSkipped = true
	})
	uploads := transfermanager.New(client, func(o *transfermanager.Options) {
		o.MultipartUploadThreshold = multipartFrom
		o.PartSizeBytes = multipartFrom / 2
	})
	return &S3{client: client, uploads: uploads, bucket: bucket, prefix: prefix}, nil
}

type noLimit struct{}

func (noLimit) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (noLimit) AddTokens(uint) error { return nil }

func (s *S3) String() string { return "s3://" + s.bucket + "/" + s.prefix }

// List implements Lister.
func (s *S3) List(ctx context.Context, prefix string) iter.Seq2[pipeline.Ref, error] {
	return func(yield func(pipeline.Ref, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.bucket, Prefix: aws.String(s.prefix + prefix)}
		if s.pageSize > 0 {
			in.MaxKeys = &s.pageSize
		}
		for pages := s3.NewListObjectsV2Paginator(s.client, in); pages.HasMorePages(); {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(pipeline.Ref{}, fmt.Errorf("list %s: %w", s, translate(err)))
				return
			}
			for _, o := range page.Contents {
				key := strings.TrimPrefix(aws.ToString(o.Key), s.prefix)
				if !yield(pipeline.Ref{Key: key, ETag: unquote(o.ETag), Size: aws.ToInt64(o.Size)}, nil) {
					return
				}
			}
		}
	}
}

// Open implements Reader.
func (s *S3) Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + key)})
	if err != nil {
		return nil, pipeline.Ref{}, fmt.Errorf("open %s%s: %w", s, key, translate(err))
	}
	ref := pipeline.Ref{Key: key, ETag: unquote(out.ETag), Size: aws.ToInt64(out.ContentLength)}
	return &wholeBody{ReadCloser: out.Body, left: ref.Size}, ref, nil
}

// wholeBody makes an error of a body that is shorter or longer than the server said.
type wholeBody struct {
	io.ReadCloser
	left int64
}

func (b *wholeBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 || errors.Is(err, io.EOF) && b.left > 0 {
		return n, fmt.Errorf("the body is %d bytes off its stated length: %w", b.left, io.ErrUnexpectedEOF)
	}
	return n, err
}

// Put implements Writer.
func (s *S3) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (pipeline.Ref, error) {
	etag, err := s.put(ctx, s.prefix+key, body, size, cond)
	if err != nil {
		return pipeline.Ref{}, fmt.Errorf("write %s%s: %w", s, key, translate(err))
	}
	return pipeline.Ref{Key: key, ETag: unquote(etag), Size: size}, nil
}

func (s *S3) put(ctx context.Context, key string, body io.ReadSeeker, size int64, cond Condition) (*string, error) {
	var absent, match *string
	if cond.absent {
		absent = aws.String("*")
	}
	if cond.etag != "" {
		match = aws.String(`"` + cond.etag + `"`)
	}
	if size >= multipartFrom {
		out, err := s.uploads.UploadObject(ctx, &transfermanager.UploadObjectInput{
			Bucket: &s.bucket, Key: &key, Body: body, IfNoneMatch: absent, IfMatch: match,
		})
		if err != nil {
			return nil, err
		}
		return out.ETag, nil
	}
	out, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: body, ContentLength: &size, IfNoneMatch: absent, IfMatch: match,
	})
	if err != nil {
		return nil, err
	}
	return out.ETag, nil
}

// Delete implements Writer.
func (s *S3) Delete(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: aws.String(s.prefix + key)})
	if err != nil {
		return fmt.Errorf("delete %s%s: %w", s, key, translate(err))
	}
	return nil
}

func unquote(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }

// translate gives the errors that callers branch on their common names.
func translate(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode() {
	case "NoSuchKey", "NotFound":
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	case "NoSuchBucket":
		return fmt.Errorf("the bucket does not exist: %w", err)
	case "AccessDenied", "Forbidden", "AllAccessDisabled":
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	case "PreconditionFailed", "ConditionalRequestConflict":
		return fmt.Errorf("%w: %w", ErrPrecondition, err)
	}
	return err
}
