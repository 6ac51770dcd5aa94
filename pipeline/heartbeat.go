package pipeline

import (
	"context"
	"time"
)

// Heartbeat calls beat every interval, until it fails, stop is called or ctx ends. The context that it
// returns ends with beat's error as its cause: whoever works under it stops when the heart does. stop
// waits for a beat that is under way; it must be called.
func Heartbeat(ctx context.Context, every time.Duration, beat func(context.Context) error) (beating context.Context, stop func()) {
	beating, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := beat(beating); err != nil {
					cancel(err)
					return
				}
			case <-beating.Done():
				return
			}
		}
	}()
	return beating, func() {
		cancel(context.Canceled)
		<-done
	}
}
