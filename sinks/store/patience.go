package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// bodySilence is how long a body may bring no byte before it is broken off and asked for again, if
// the reader's own patience does not end sooner.
const bodySilence = time.Minute

// ErrSilent means that the server took requests and said nothing, or stopped in the middle, more often
// than the reader had patience for.
var ErrSilent = errors.New("the server goes silent")

type patienceKey struct{}

// patience is what one reader has left.
type patience struct {
	each  time.Duration
	times atomic.Int32
}

// WithPatience returns a context whose reads wait no longer than each for the next byte of an answer,
// its head included. An attempt that brings none is broken off and made again; after so many times the
// read fails with an ErrSilent. A reader that is slow itself does not use it up, nor does a server
// that answers with an error. One context serves one read. Local files know no patience.
func WithPatience(ctx context.Context, each time.Duration, times int) context.Context {
	p := &patience{each: each}
	p.times.Store(int32(times))
	return context.WithValue(ctx, patienceKey{}, p)
}

// silence is the error of one attempt.
type silence struct {
	after time.Duration
	final bool
}

func (s *silence) Error() string { return fmt.Sprintf("%v: not a byte within %v", ErrSilent, s.after) }

// Is implements errors.Is: only the last silence is an ErrSilent.
func (s *silence) Is(target error) bool { return target == ErrSilent && s.final }

// retrySilence is asked before the SDK's own rules, which would try again whatever is a connection's fault.
func retrySilence(err error) aws.Ternary {
	var s *silence
	if errors.As(err, &s) {
		return aws.BoolTernary(!s.final)
	}
	return aws.UnknownTernary
}

// patient is an HTTP client that breaks off answers which do not come.
type patient struct{ aws.HTTPClient }

// Do implements aws.HTTPClient.
func (c patient) Do(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet { // how long a write takes is the network's and the body's affair
		return c.HTTPClient.Do(r)
	}
	p, _ := r.Context().Value(patienceKey{}).(*patience)
	ctx, cancel := context.WithCancelCause(r.Context())
	w := &watched{ctx: ctx, cancel: cancel, each: bodySilence}
	if p != nil {
		w.each = min(p.each, bodySilence)
	}
	w.timer = time.AfterFunc(w.each, func() { cancel(w.broken(p)) })
	if p == nil { // heads have the transport's limit
		w.timer.Stop()
	}
	answer, err := c.HTTPClient.Do(r.WithContext(ctx))
	w.timer.Stop()
	if err != nil {
		err = w.explain(err)
		cancel(nil)
		return nil, err
	}
	w.body, answer.Body = answer.Body, w
	return answer, nil
}

// watched is a body whose every read has a time limit.
type watched struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	each   time.Duration
	body   io.ReadCloser
}

func (w *watched) broken(p *patience) error {
	return &silence{after: w.each, final: p != nil && p.times.Add(-1) <= 0}
}

// explain puts the silence in the place of what breaking off brought about.
func (w *watched) explain(err error) error {
	var s *silence
	if errors.As(context.Cause(w.ctx), &s) {
		return s
	}
	return err
}

// Read implements io.Reader.
func (w *watched) Read(b []byte) (int, error) {
	w.timer.Reset(w.each)
	n, err := w.body.Read(b)
	w.timer.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		err = w.explain(err)
	}
	return n, err
}

// Close implements io.Closer.
func (w *watched) Close() error {
	w.timer.Stop()
	w.cancel(nil)
	return w.body.Close()
}
