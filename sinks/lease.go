package sinks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/facet-search/facet/sinks/store"
)

// LeasePath is the object that keeps two runs from one output.
const LeasePath = "LEASE"

var (
	// ErrLeased means that another run is at work on the output.
	ErrLeased = errors.New("another run holds this output")
	// ErrLeaseLost means that a run stopped answering for so long that another one took its place.
	ErrLeaseLost = errors.New("the lease on the output is lost; another run has taken over")
)

// Holder is who holds a lease, as the object says.
type Holder struct {
	Run      string    `json:"run"` // of no meaning but to be unique
	Process            // where it runs
	Since    time.Time `json:"since"`
	Until    time.Time `json:"until"`
	Released bool      `json:"released"` // it ended by itself
}

// Lease is the right to write below an output. It is held until a time that Renew moves on. It is safe
// for several goroutines.
type Lease struct {
	objects store.Store
	term    time.Duration
	// Took says that the holder before has not released it: what it may still try to write must be fenced
	// off, see Fence.
	Took bool

	mu     sync.Mutex
	holder Holder
	etag   string
}

// acquireTries bounds the race for a lease that is free.
const acquireTries = 8

// Acquire takes the lease on an output for a term. It is an ErrLeased that another run has it: one that
// has not expired, nor been left by a process of this machine that is dead.
func Acquire(ctx context.Context, objects store.Store, term time.Duration) (*Lease, error) {
	l := &Lease{objects: objects, term: term}
	for range acquireTries {
		held, etag, err := readHolder(ctx, objects)
		if err != nil {
			return nil, err
		}
		cond := store.IfAbsent()
		if held != nil {
			if err := held.refuse(objects); err != nil {
				return nil, err
			}
			cond, l.Took = store.IfMatch(etag), !held.Released
		}
		now := time.Now().UTC()
		l.holder = Holder{Run: rand.Text(), Process: thisProcess(), Since: now}
		err = l.write(ctx, cond, now.Add(term))
		if !errors.Is(err, store.ErrPrecondition) {
			return l, err
		}
	}
	return nil, fmt.Errorf("%w: %d others were faster", ErrLeased, acquireTries)
}

// Take acquires the lease on an output, and fences off the holder before if that one may still be alive.
func Take(ctx context.Context, objects store.Store, term time.Duration) (*Lease, error) {
	l, err := Acquire(ctx, objects, term)
	if err != nil {
		return nil, err
	}
	if l.Took {
		if err := Fence(ctx, objects); err != nil {
			l.Leave()
			return nil, fmt.Errorf("fence off the run before: %w", err)
		}
	}
	return l, nil
}

// Lost says that the lease is lost where that is why everything under a Heartbeat's context was cancelled.
func Lost(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrLeaseLost) && !errors.Is(err, ErrLeaseLost) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// refuse is an ErrLeased while the holder may be alive.
func (h *Holder) refuse(output fmt.Stringer) error {
	if h.Released || time.Now().After(h.Until) || h.dead() {
		return nil
	}
	return fmt.Errorf("%w, %s: process %d on %s, since %s; it renews the lease, which would end at %s. Wait for it, or stop it",
		ErrLeased, output, h.PID, h.Host, h.Since.Format(time.RFC3339), h.Until.Format(time.RFC3339))
}

// readHolder returns nil where no run has ever been. What cannot be read as a holder holds nothing.
func readHolder(ctx context.Context, objects store.Store) (*Holder, string, error) {
	data, etag, err := readSmall(ctx, objects, LeasePath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", LeasePath, err)
	}
	var h Holder
	if json.Unmarshal(data, &h) != nil {
		h = Holder{}
	}
	return &h, etag, nil
}

// write writes the holder with a new end. The caller holds mu, or is alone.
func (l *Lease) write(ctx context.Context, cond store.Condition, until time.Time) error {
	h := l.holder
	h.Until = until
	doc, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode %s: %w", LeasePath, err)
	}
	etag, err := put(ctx, l.objects, LeasePath, append(doc, '\n'), cond)
	if err != nil {
		return fmt.Errorf("write %s: %w", LeasePath, err)
	}
	l.holder, l.etag = h, etag
	return nil
}

// Held is an ErrLeaseLost once the lease may have expired.
func (l *Lease) Held() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().After(l.holder.Until) {
		return fmt.Errorf("%w: it ended at %s", ErrLeaseLost, l.holder.Until.Format(time.RFC3339))
	}
	return nil
}

// Renew moves the end of the lease a term on. It is an ErrLeaseLost that another run has it, or that the
// store could not be reached until it expired; a store that cannot be reached before that is no error.
func (l *Lease) Renew(ctx context.Context) error {
	if err := l.Held(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithDeadline(ctx, l.holder.Until)
	defer cancel()
	err := l.write(ctx, store.IfMatch(l.etag), time.Now().UTC().Add(l.term))
	if !errors.Is(err, store.ErrPrecondition) {
		return nil
	}
	held, etag, err := readHolder(ctx, l.objects)
	switch {
	case err != nil:
		return nil
	case held == nil || held.Run != l.holder.Run:
		return ErrLeaseLost
	}
	l.etag = etag // of an earlier renewal, the answer to which was lost
	return nil
}

// Every is how often to renew: some renewals may fail.
func (l *Lease) Every() time.Duration { return l.term / 5 }

// leaveTimeout bounds the farewell of a run that was interrupted.
const leaveTimeout = 10 * time.Second

// Leave releases the lease at the end of a run, also when that was interrupted. If it cannot, the lease
// expires.
func (l *Lease) Leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	return l.Release(ctx)
}

// Release gives the lease back. Where that cannot be written, as on a full disk, the lease is deleted:
// before it has expired it is nobody else's.
func (l *Lease) Release(ctx context.Context) error {
	held := l.Held()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holder.Released = true
	err := l.write(ctx, store.IfMatch(l.etag), time.Now().UTC())
	if errors.Is(err, store.ErrPrecondition) { // another run's, or ours by a renewal that was cut short
		now, etag, e := readHolder(ctx, l.objects)
		if e != nil || now == nil || now.Run != l.holder.Run {
			return e
		}
		err = l.write(ctx, store.IfMatch(etag), time.Now().UTC())
	}
	switch {
	case errors.Is(err, store.ErrPrecondition):
		return nil // it is another run's
	case err != nil && held == nil && l.objects.Delete(ctx, LeasePath) == nil:
		return nil
	}
	return err
}
