// Package publish is what a person does to the pointer: `facet publish --accept` makes a snapshot the
// current one that the gate refused, and `facet rollback` an earlier one. Both say who and why.
package publish

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
)

// Request is a decision to be carried out.
type Request struct {
	Output   string
	Snapshot string // to become the current one; "" for the current one's parent, when rolling back
	By       string
	Reason   string
}

// term is how long a decision that was cut short keeps nights off the output.
const term = time.Minute

// errNoParent ends a way back.
var errNoParent = errors.New("it has no parent")

func (r Request) check(command string) error {
	var missing []string
	for _, f := range []struct{ flag, value string }{{"--output", r.Output}, {"--by", r.By}, {"--reason", r.Reason}} {
		if strings.TrimSpace(f.value) == "" {
			missing = append(missing, f.flag)
		}
	}
	if missing != nil {
		return fmt.Errorf("%w: %s wants %s", jobfile.ErrConfig, command, strings.Join(missing, ", "))
	}
	return nil
}

// Accept makes a snapshot the current one, whatever the gate said, if it is whole: its ledger balances
// and its files are there. It returns what was decided.
func Accept(ctx context.Context, r Request) (*sinks.Decision, error) {
	if err := r.check("publish --accept"); err != nil {
		return nil, err
	}
	if r.Snapshot == "" {
		return nil, fmt.Errorf("%w: publish wants --accept with a snapshot's id; `facet snapshots` lists them", jobfile.ErrConfig)
	}
	return r.decide(ctx, sinks.Accept)
}

// Rollback makes the parent of the current snapshot, or the one that is named, the current one. It works
// when the current snapshot is damaged, as long as its parent is named or can be read.
func Rollback(ctx context.Context, r Request) (*sinks.Decision, error) {
	if err := r.check("rollback"); err != nil {
		return nil, err
	}
	return r.decide(ctx, sinks.Rollback)
}

func (r Request) decide(ctx context.Context, what sinks.Verb) (*sinks.Decision, error) {
	objects, err := store.Open(ctx, r.Output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	// No night and no gc is at work meanwhile: neither must find the pointer, or lose the files, changed under it.
	lease, err := sinks.Take(ctx, objects, term)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer lease.Leave()
	ctx, stop := pipeline.Heartbeat(ctx, lease.Every(), lease.Renew)
	defer stop()
	pointer, err := sinks.ReadPointer(ctx, objects)
	if err != nil && (what != sinks.Accept || !errors.Is(err, sinks.ErrNoSnapshot)) {
		return nil, err
	}
	id := r.Snapshot
	if id == "" {
		if id, err = parent(ctx, objects, pointer.Snapshot); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	d := &sinks.Decision{
		What: what, By: r.By, Reason: r.Reason, At: time.Now().UTC().Truncate(time.Second), From: pointer.Snapshot, To: id,
		NextSequence: sequences(ctx, objects, pointer),
	}
	if pointer.Snapshot == id {
		return nil, fmt.Errorf("%s: snapshot %s is the current one already", what, id)
	}
	if err := move(ctx, objects, pointer, d); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return d, sinks.WriteDecision(ctx, objects, *d)
}

// sequences are the ones that keys of the current snapshot, and of those rolled back before it, have used
// up; nil where its manifest cannot be read, since that must not keep anybody from leaving it.
func sequences(ctx context.Context, objects store.Store, pointer sinks.Pointer) []int64 {
	s, err := sinks.OpenSnapshot(ctx, objects, pointer.Snapshot)
	if err != nil {
		return nil
	}
	pointer.Decision.RaiseSequences(s.Shards.NextSequence)
	return s.Shards.NextSequence
}

// parentOf is the id of the snapshot that s goes on from, or "".
func parentOf(s *sinks.Snapshot) string {
	if s.Parent == nil {
		return ""
	}
	return *s.Parent
}

// parent is the one of the current snapshot.
func parent(ctx context.Context, objects store.Store, id string) (string, error) {
	s, err := sinks.OpenSnapshot(ctx, objects, id)
	if err != nil {
		return "", fmt.Errorf("find the parent of the current snapshot: %w; name one with --to", err)
	}
	if s.Parent == nil {
		return "", fmt.Errorf("snapshot %s: %w; name another snapshot with --to", id, errNoParent)
	}
	return *s.Parent, nil
}

// move makes a whole snapshot the current one. Readers of the pointer see the decision in it.
func move(ctx context.Context, objects store.Store, pointer sinks.Pointer, d *sinks.Decision) error {
	s, err := sinks.OpenSnapshot(ctx, objects, d.To)
	if err != nil {
		return err
	}
	if d.What == sinks.Accept && parentOf(s) != pointer.Snapshot {
		return fmt.Errorf("snapshot %s goes on from %s, and %s is current: both may have given the same ids to different new images; "+
			"run the night again, or roll back to %[2]s first", d.To, cmp.Or(parentOf(s), "none"), cmp.Or(pointer.Snapshot, "none"))
	}
	if err := s.Ledger.Balance(); err != nil {
		return fmt.Errorf("snapshot %s: %w", d.To, err)
	}
	if err := sinks.CheckFiles(ctx, objects, s.Manifest); err != nil {
		return err
	}
	to := s.Current()
	to.Decision = d
	_, err = pointer.Move(ctx, objects, to)
	return err
}
