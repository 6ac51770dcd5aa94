// Package snapshots is the job `facet snapshots`: what lies below an output, and which of it is current.
package snapshots

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/gate"
	"github.com/facet-search/facet/sinks/store"
)

// State is where a snapshot stands.
type State string

const (
	Current     State = "current"
	Ancestor    State = "ancestor"    // of the current one, by parents
	Refused     State = "refused"     // by the gate
	Accepted    State = "accepted"    // refused, then accepted by a person, and neither current nor an ancestor now
	RolledBack  State = "rolled back" // current once
	Unpublished State = "unpublished" // complete, but something else was published before it could be
	Damaged     State = "damaged"     // its manifest can't be read
)

// Entry is one snapshot.
type Entry struct {
	Snapshot string             `json:"snapshot"`
	Parent   string             `json:"parent,omitempty"`
	Created  time.Time          `json:"created"`
	State    State              `json:"state"`
	Ledger   sinks.Ledger       `json:"ledger"`
	Recall   map[string]float64 `json:"recall@10"`
	Refusal  string             `json:"refusal,omitempty"` // what the gate said
	Accepted *sinks.Decision    `json:"accepted,omitempty"`
	RolledBk *sinks.Decision    `json:"rolled_back,omitempty"`
	Error    string             `json:"error,omitempty"` // why it is damaged
}

// List returns the snapshots below an output, oldest first.
func List(ctx context.Context, output string) ([]Entry, error) {
	if output == "" {
		return nil, fmt.Errorf("%w: snapshots wants --output", jobfile.ErrConfig)
	}
	objects, err := store.Open(ctx, output)
	if err != nil {
		return nil, fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	pointer, err := sinks.ReadPointer(ctx, objects)
	if err != nil && !errors.Is(err, sinks.ErrNoSnapshot) {
		return nil, err
	}
	ids, err := sinks.SnapshotIDs(ctx, objects)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, id := range ids {
		e, err := read(ctx, objects, id)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	mark(entries, pointer.Snapshot)
	return entries, nil
}

// read sums a snapshot up. One that is damaged is listed as such.
func read(ctx context.Context, objects store.Store, id string) (Entry, error) {
	e := Entry{Snapshot: id, Recall: map[string]float64{}}
	s, err := sinks.OpenSnapshot(ctx, objects, id)
	if ctx.Err() != nil {
		return e, ctx.Err()
	}
	if err != nil {
		e.State, e.Error = Damaged, err.Error()
		return e, nil
	}
	if s.Parent != nil {
		e.Parent = *s.Parent
	}
	e.Created, e.Ledger = s.Created, s.Ledger
	for _, t := range s.Tasks {
		e.Recall[t.Name] = t.Index.Recall
	}
	if err := gate.Verdict(s.Gate); err != nil {
		e.Refusal = err.Error()
	}
	if e.Accepted, err = sinks.ReadDecision(ctx, objects, sinks.Accept, id); err != nil {
		return e, err
	}
	e.RolledBk, err = sinks.ReadDecision(ctx, objects, sinks.Rollback, id)
	return e, err
}

// mark gives every readable entry its state.
func mark(entries []Entry, current string) {
	byID := map[string]*Entry{}
	for i := range entries {
		byID[entries[i].Snapshot] = &entries[i]
	}
	lineage := map[string]bool{}
	for e := byID[current]; e != nil && !lineage[e.Snapshot]; e = byID[e.Parent] {
		lineage[e.Snapshot] = true
	}
	for i := range entries {
		e := &entries[i]
		switch {
		case e.State == Damaged:
		case e.Snapshot == current:
			e.State = Current
		case lineage[e.Snapshot]:
			e.State = Ancestor
		case e.RolledBk != nil:
			e.State = RolledBack
		case e.Accepted != nil:
			e.State = Accepted
		case e.Refusal != "":
			e.State = Refused
		default:
			e.State = Unpublished
		}
	}
}
