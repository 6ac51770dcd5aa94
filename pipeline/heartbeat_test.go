package pipeline

import (
	"context"
	"errors"
	"testing"
	"time"
)

// The work ends when the heart stops, and says why; stop waits for the last beat.
func TestHeartbeat(t *testing.T) {
	boom := errors.New("boom")
	beats := 0
	ctx, stop := Heartbeat(t.Context(), time.Millisecond, func(context.Context) error {
		if beats++; beats == 3 {
			return boom
		}
		return nil
	})
	<-ctx.Done()
	stop()
	if cause := context.Cause(ctx); beats != 3 || !errors.Is(cause, boom) {
		t.Errorf("%d beats, and then %v", beats, cause)
	}

	beating, rest := make(chan struct{}), make(chan struct{})
	ctx, stop = Heartbeat(t.Context(), time.Millisecond, func(ctx context.Context) error {
		close(beating)
		<-ctx.Done()
		close(rest)
		return ctx.Err()
	})
	<-beating
	stop()
	select {
	case <-rest:
	default:
		t.Error("stopped in the middle of a beat")
	}
	if ctx.Err() == nil {
		t.Error("the work goes on after the stop")
	}
}
