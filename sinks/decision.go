package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/facet-search/facet/sinks/store"
)

// Decision is a person's word on which snapshot is the current one.
type Decision struct {
	What   Verb      `json:"what"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	From   string    `json:"from"` // the snapshot that was current until then; "" for none
	To     string    `json:"to"`
	// NextSequence is, for each shard, the first sequence that no key had in the snapshots rolled back: the
	// next night starts there, so that their ids are not given to other keys. nil where it is not known.
	NextSequence []int64 `json:"next_sequence,omitempty"`
}

// RaiseSequences raises the sequences of shards to those that the decision keeps. A nil Decision keeps none.
func (d *Decision) RaiseSequences(next []int64) {
	if d == nil || len(d.NextSequence) != len(next) {
		return
	}
	for i, n := range d.NextSequence {
		next[i] = max(next[i], n)
	}
}

// Verb is what was decided.
type Verb string

const (
	Accept   Verb = "accept"   // the snapshot To, which the gate had refused or nobody had published
	Rollback Verb = "rollback" // from a snapshot to one that was current before
)

// path is where a decision is kept beside the manifest of the snapshot that it is about.
func (d Decision) path() string { return decisionPath(d.What, d.about()) }

func (d Decision) about() string {
	if d.What == Rollback {
		return d.From
	}
	return d.To
}

func decisionPath(what Verb, snapshot string) string {
	name := map[Verb]string{Accept: "accepted.json", Rollback: "rolledback.json"}[what]
	return path.Join(path.Dir(ManifestPath(snapshot)), name)
}

// DecisionPaths is where decisions about a snapshot are kept, if there are any.
func DecisionPaths(snapshot string) []string {
	return []string{decisionPath(Accept, snapshot), decisionPath(Rollback, snapshot)}
}

// WriteDecision keeps a decision beside the snapshot that it is about: the accepted one, or the one that
// was rolled back. A later one of the same kind takes its place.
func WriteDecision(ctx context.Context, s store.Store, d Decision) error {
	data, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		return fmt.Errorf("encode decision: %w", err)
	}
	if _, err := put(ctx, s, d.path(), append(data, '\n'), store.Condition{}); err != nil {
		return fmt.Errorf("record the decision about snapshot %s: %w", d.about(), err)
	}
	return nil
}

// ReadDecision returns a decision about a snapshot; nil if there is none.
func ReadDecision(ctx context.Context, s store.Store, what Verb, snapshot string) (*Decision, error) {
	data, _, err := readSmall(ctx, s, decisionPath(what, snapshot))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the decision about snapshot %s: %w", snapshot, err)
	}
	var d Decision
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("%w: decision about snapshot %s: %w", ErrDamaged, snapshot, err)
	}
	return &d, nil
}

// SnapshotIDs lists the snapshots whose manifests are stored, oldest first, published or not.
func SnapshotIDs(ctx context.Context, s store.Store) ([]string, error) {
	var ids []string
	for ref, err := range s.List(ctx, "snapshots/") {
		if err != nil {
			return nil, fmt.Errorf("list snapshots: %w", err)
		}
		id, ok := strings.CutSuffix(strings.TrimPrefix(ref.Key, "snapshots/"), "/manifest.json")
		if ok && ref.Key == ManifestPath(id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// CheckFiles compares the sizes of all files of a manifest with a listing of the store, which reads none
// of them. It is an ErrDamaged that names some of those that are missing or of another size.
func CheckFiles(ctx context.Context, s store.Store, m *Manifest) error {
	wanted, prefixes := map[string]int64{}, map[string]bool{}
	for _, f := range m.Files {
		wanted[f.Path] = f.Bytes
		top, _, _ := strings.Cut(f.Path, "/")
		prefixes[top+"/"] = true
	}
	for prefix := range prefixes {
		for ref, err := range s.List(ctx, prefix) {
			if err != nil {
				return fmt.Errorf("list %s: %w", prefix, err)
			}
			if size, ok := wanted[ref.Key]; ok && size == ref.Size {
				delete(wanted, ref.Key)
			}
		}
	}
	var some []string
	for p := range wanted {
		if some = append(some, p); len(some) == 3 {
			break
		}
	}
	if some == nil {
		return nil
	}
	return fmt.Errorf("%w: %d of the %d files of snapshot %s are missing or of another size, such as %s",
		ErrDamaged, len(wanted), len(m.Files), m.Snapshot, strings.Join(some, ", "))
}
