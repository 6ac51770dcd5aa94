package store

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

const (
	// attempts at a request. A reset connection costs milliseconds, and a store may be out for half a
	// minute: the pauses between them triple from firstPause up to lastPause, less a random part of at
	// most half.
	attempts   = 9
	firstPause = 50 * time.Millisecond
	lastPause  = 20 * time.Second
	// headerTimeout is for a server that takes a request and says nothing any more.
	headerTimeout = 5 * time.Minute
	// connections that are kept: more than any sensible number of fetches at a time. The SDK keeps ten.
	connections = 512
	// abortTimeout is for cleaning up after an upload that was cancelled.
	abortTimeout = 30 * time.Second
)

// S3 is a store in a bucket, below a prefix. Credentials, region and endpoint come from the SDK's own
// chain; an endpoint other than AWS's is addressed path-style. Requests and bodies carry checksums
// both ways.
type S3 struct {
	client  *s3.Client
	uploads *transfermanager.Client
	bucket  string
	prefix  string // "" or ending in a slash
}

// OpenS3 opens the store at bucket/prefix. It does not talk to the server yet.
func OpenS3(ctx context.Context, address string) (*S3, error) {
	bucket, prefix, _ := strings.Cut(address, "/")
	switch {
	case strings.ContainsAny(bucket, "@:"):
		// Not repeated here: it may be a secret.
		return nil, fmt.Errorf("%w: s3://… has a credential, or a port, where the bucket's name belongs; credentials and endpoints come from the environment (AWS_PROFILE, AWS_ENDPOINT_URL)", ErrAddress)
	case bucket == "":
		return nil, fmt.Errorf("%w: s3://%s names no bucket; write s3://bucket/prefix/", ErrAddress, address)
	}
	c, err := config.LoadDefaultConfig(ctx, config.WithRetryer(newRetryer), config.WithHTTPClient(newHTTPClient()))
	if err != nil {
		return nil, fmt.Errorf("configure S3: %w", err)
	}
	if c.Region == "" {
		c.Region = "us-east-1" // endpoints other than AWS's rarely care
	}
	client := s3.NewFromConfig(c, func(o *s3.Options) {
		o.UsePathStyle = o.BaseEndpoint != nil || c.BaseEndpoint != nil
		o.HTTPClient = patient{o.HTTPClient}
		o.DisableLogOutputChecksumValidationSkipped = true
		o.APIOptions = append(o.APIOptions, refuseEmptyAnswers)
	})
	uploads := transfermanager.New(client, func(o *transfermanager.Options) {
		o.PartSizeBytes, o.MultipartUploadThreshold = partSize, partSize
		o.FailTimeout = abortTimeout
	})
	return &S3{client: client, uploads: uploads, bucket: bucket, prefix: asFolder(prefix)}, nil
}

func newHTTPClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = connections, connections
		t.ResponseHeaderTimeout = headerTimeout
	})
}

func newRetryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = attempts
		o.Backoff = retry.BackoffDelayerFunc(pause)
		// The token bucket would give up early when many requests fail together, which is just when a
		// nightly job should wait.
		o.RateLimiter = ratelimit.None
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(retrySilence)}, o.Retryables...)
		o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(retryable))
	})
}

// pause implements retry.BackoffDelayerFunc; attempt counts from 1.
func pause(attempt int, _ error) (time.Duration, error) {
	d := firstPause
	for ; attempt > 1 && d < lastPause; attempt-- {
		d *= 3
	}
	d = min(d, lastPause)
	return d - rand.N(d/2), nil
}

// errEmptyAnswer means that an answer lacks what every answer has.
var errEmptyAnswer = errors.New("the server's answer is empty")

// retryable adds answers that broke off to what the SDK tries again.
func retryable(err error) aws.Ternary {
	var cut *smithy.DeserializationError
	var cutXML *xml.SyntaxError // of an error's own description, which no DeserializationError wraps
	var api smithy.APIError
	switch {
	case errors.As(err, &api):
		// Writers got in each other's way, and none of them may have won.
		return aws.BoolTernary(api.ErrorCode() == "ConditionalRequestConflict")
	case errors.As(err, &cut), errors.As(err, &cutXML), errors.Is(err, errEmptyAnswer), errors.Is(err, io.ErrUnexpectedEOF):
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

// refuseEmptyAnswers makes an error of what the SDK takes for success: a body of no bytes is to it an
// answer that says nothing, so that a listing would end there, with objects missing.
func refuseEmptyAnswers(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("RefuseEmptyAnswers",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleDeserialize(ctx, in)
			if err == nil && empty(out.Result) {
				err = errEmptyAnswer
			}
			return out, metadata, err
		}), middleware.Before)
}

func empty(answer any) bool {
	switch a := answer.(type) {
	case *s3.ListObjectsV2Output:
		return a.IsTruncated == nil
	case *s3.CreateMultipartUploadOutput:
		return aws.ToString(a.UploadId) == ""
	case *s3.CompleteMultipartUploadOutput:
		return aws.ToString(a.ETag) == ""
	case *s3.PutObjectOutput:
		return aws.ToString(a.ETag) == ""
	case *s3.UploadPartOutput:
		return aws.ToString(a.ETag) == ""
	case *s3.GetObjectOutput:
		return a.ContentLength == nil || aws.ToString(a.ETag) == ""
	}
	return false
}

func (s *S3) String() string { return "s3://" + s.bucket + "/" + s.prefix }

func unquote(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }

func quote(etag string) *string { return aws.String(`"` + etag + `"`) }

// translate gives the errors that callers branch on their common names. What is wrong with the
// account or the bucket rather than with one object gets none.
func translate(err error) error {
	switch code(err) {
	case "NoSuchKey", "NotFound", "KeyTooLongError":
		return fmt.Errorf("%w: %w", fs.ErrNotExist, withoutEOF(err))
	case "AccessDenied", "Forbidden", "AllAccessDisabled", "InvalidObjectState":
		return fmt.Errorf("%w: %w", fs.ErrPermission, withoutEOF(err))
	case "PreconditionFailed", "ConditionalRequestConflict":
		return fmt.Errorf("%w: %w", ErrPrecondition, withoutEOF(err))
	case "InvalidRange":
		return fmt.Errorf("%w: %w", ErrRange, withoutEOF(err))
	case "NoSuchBucket":
		return fmt.Errorf("the bucket does not exist, or not at this endpoint (AWS_ENDPOINT_URL): %w", withoutEOF(err))
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return fmt.Errorf("the bucket seems to be in another region (AWS_REGION): %w", withoutEOF(err))
	}
	return withoutEOF(err)
}

// code is S3's code of an error, or nothing.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
