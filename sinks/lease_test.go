package sinks

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/facet-search/facet/sinks/store"
)

func inMemory(t *testing.T) store.Store {
	t.Helper()
	s, err := store.OpenMem(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// died is a process of this machine that has ended.
func died(t *testing.T) Process {
	t.Helper()
	c := exec.Command("cat")
	in := must[interface{ Close() error }](t)
	pipe, err := c.StdinPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p := thisProcess()
	p.PID = c.Process.Pid
	p.Start, _ = startOf(p.PID)
	if p.dead() {
		t.Error("a process that waits for its input is taken for dead")
	}
	in(pipe, pipe.Close())
	for !p.dead() { // a zombie is dead before anybody has waited for it
		time.Sleep(time.Millisecond)
	}
	_ = c.Wait()
	if !p.dead() {
		t.Error("a process that has ended is taken for alive")
	}
	return p
}

// Who may take the lease from whom.
func TestAcquire(t *testing.T) {
	now := time.Now().UTC()
	dead := died(t)
	elsewhere, reborn, other := dead, dead, thisProcess()
	elsewhere.Boot = "another machine"
	reborn.Space = "another container"
	other.Start += "0" // the number was given to another process since
	for what, c := range map[string]struct {
		holder Holder
		text   string
		free   bool
		took   bool
	}{
		"nobody":                      {text: "", free: true},
		"one that released it":        {holder: Holder{Until: now.Add(time.Hour), Released: true}, free: true},
		"one that expired":            {holder: Holder{Until: now.Add(-time.Second), Process: thisProcess()}, free: true, took: true},
		"a living process":            {holder: Holder{Until: now.Add(time.Hour), Process: thisProcess()}},
		"a dead process":              {holder: Holder{Until: now.Add(time.Hour), Process: dead}, free: true, took: true},
		"one whose number is another": {holder: Holder{Until: now.Add(time.Hour), Process: other}, free: true, took: true},
		"a process of elsewhere":      {holder: Holder{Until: now.Add(time.Hour), Process: elsewhere}},
		"a process of a container":    {holder: Holder{Until: now.Add(time.Hour), Process: reborn}},
		"what is no lease":            {text: "{", free: true, took: true},
	} {
		s := inMemory(t)
		doc := []byte(c.text)
		if c.holder != (Holder{}) {
			doc = must[[]byte](t)(json.Marshal(c.holder))
		}
		if err := s.Delete(t.Context(), LeasePath); err != nil {
			t.Fatal(err)
		}
		if len(doc) > 0 {
			must[string](t)(put(t.Context(), s, LeasePath, doc, store.Condition{}))
		}
		l, err := Acquire(t.Context(), s, time.Minute)
		if free := err == nil; free != c.free || err != nil && !errors.Is(err, ErrLeased) || err == nil && l.Took != c.took {
			t.Errorf("from %s: %v, took %v; want free %v, took %v", what, err, l != nil && l.Took, c.free, c.took)
		}
		if err != nil && !strings.Contains(err.Error(), c.holder.Host) {
			t.Errorf("%q does not say who holds it", err)
		}
	}
}

// A holder that slept beyond the end of its lease finds it lost, and what it tries to write at CURRENT is
// refused.
func TestLeaseLost(t *testing.T) {
	s := inMemory(t)
	first := must[*Lease](t)(Acquire(t.Context(), s, 20*time.Millisecond))
	for _, before := range []string{"no snapshot", "a snapshot"} {
		old, err := ReadPointer(t.Context(), s)
		if err != nil && !errors.Is(err, ErrNoSnapshot) {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Millisecond)
		second := must[*Lease](t)(Acquire(t.Context(), s, time.Minute))
		if !second.Took {
			t.Error("it expired, and was not taken over")
		}
		if err := Fence(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := first.Renew(t.Context()); !errors.Is(err, ErrLeaseLost) {
			t.Errorf("%s: renewing a lost lease: %v", before, err)
		}
		if _, err := old.Move(t.Context(), s, Current{Snapshot: "stale"}); !errors.Is(err, store.ErrPrecondition) {
			t.Errorf("%s: the pointer moves for one that has lost the lease: %v", before, err)
		}
		now, err := ReadPointer(t.Context(), s)
		if err != nil && !errors.Is(err, ErrNoSnapshot) {
			t.Fatal(err)
		}
		must[Pointer](t)(now.Move(t.Context(), s, Current{Snapshot: "mine"}))
		second.holder.Until, first = time.Now(), second
		must[string](t)(put(t.Context(), s, LeasePath, must[[]byte](t)(json.Marshal(second.holder)), store.Condition{}))
	}
}

// Renewals keep a lease, also when the answer to one was lost.
func TestRenew(t *testing.T) {
	s := inMemory(t)
	l := must[*Lease](t)(Acquire(t.Context(), s, time.Minute))
	etag, until := l.etag, l.holder.Until
	if err := l.Renew(t.Context()); err != nil || !l.holder.Until.After(until) {
		t.Errorf("renewed until %v, was %v: %v", l.holder.Until, until, err)
	}
	l.etag = etag // as if that renewal had not been answered
	for range 2 {
		if err := l.Renew(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if err := l.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if next := must[*Lease](t)(Acquire(t.Context(), s, time.Minute)); next.Took {
		t.Error("the lease was released, and not just taken")
	}
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Acquire(t.Context(), s, time.Minute); !errors.Is(err, ErrLeased) {
		t.Errorf("a second release gave away another's lease: %v", err)
	}
}
