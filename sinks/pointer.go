package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/facet-search/facet/sinks/store"
)

// CurrentPath is the pointer: the one object that changes.
const CurrentPath = "CURRENT"

// Current is the content of the pointer. Readers need no more than the snapshot, which is "" where a run
// took over from a dead one before the first was published.
type Current struct {
	Snapshot       string `json:"snapshot"`
	ManifestSHA256 string `json:"manifest_sha256"`
	// Epoch rises whenever a run takes over from a dead one. Whoever moves the pointer keeps it.
	Epoch int64 `json:"epoch,omitempty"`
	// Decision says who moved the pointer, where a person did: absent after a night.
	Decision *Decision `json:"decision,omitempty"`
}

// Pointer is CURRENT as it was read: moving it succeeds only while it is still that. The zero value is
// the pointer that is not there yet.
type Pointer struct {
	Current
	etag string
}

// ReadPointer reads CURRENT; the error is an ErrNoSnapshot where there is none, with the pointer to be
// moved when there is one.
func ReadPointer(ctx context.Context, s store.Store) (Pointer, error) {
	data, etag, err := readSmall(ctx, s, CurrentPath)
	if errors.Is(err, fs.ErrNotExist) {
		return Pointer{}, fmt.Errorf("%w below %s", ErrNoSnapshot, s)
	}
	if err != nil {
		return Pointer{}, fmt.Errorf("read %s: %w", CurrentPath, err)
	}
	p := Pointer{etag: etag}
	if err := json.Unmarshal(data, &p.Current); err != nil || p.Snapshot == "" && p.Epoch == 0 {
		return Pointer{}, fmt.Errorf("%w: %s is no pointer to a snapshot: %q", ErrDamaged, CurrentPath, data)
	}
	if p.Snapshot == "" {
		return p, fmt.Errorf("%w below %s", ErrNoSnapshot, s)
	}
	return p, nil
}

// fenceTries bounds the race with a run that publishes at this moment.
const fenceTries = 8

// Fence writes the pointer anew with a higher epoch: whoever read it before can move it no more.
func Fence(ctx context.Context, s store.Store) error {
	var err error
	for range fenceTries {
		var p Pointer
		if p, err = ReadPointer(ctx, s); err != nil && !errors.Is(err, ErrNoSnapshot) {
			return err
		}
		to := p.Current
		to.Epoch++
		if _, err = p.Move(ctx, s, to); !errors.Is(err, store.ErrPrecondition) {
			return err
		}
	}
	return err
}

// Move writes the pointer on the condition that it is still as it was read, and keeps its epoch unless
// a higher one is given. On a store.ErrPrecondition another run won.
func (p Pointer) Move(ctx context.Context, s store.Store, to Current) (Pointer, error) {
	to.Epoch = max(to.Epoch, p.Epoch)
	data, err := json.Marshal(to)
	if err != nil {
		return p, fmt.Errorf("encode pointer: %w", err)
	}
	cond := store.IfAbsent()
	if p.etag != "" {
		cond = store.IfMatch(p.etag)
	}
	etag, err := put(ctx, s, CurrentPath, append(data, '\n'), cond)
	if err != nil {
		return p, fmt.Errorf("move %s to snapshot %s: %w", CurrentPath, to.Snapshot, err)
	}
	return Pointer{Current: to, etag: etag}, nil
}

// WriteManifest stores the manifest of a snapshot whose files are all stored, and returns the pointer's
// content that would make it the current one. Until then only those who know its id find it.
func WriteManifest(ctx context.Context, s store.Store, m *Manifest) (Current, error) {
	data, err := m.Encode()
	if err != nil {
		return Current{}, err
	}
	if _, err := put(ctx, s, ManifestPath(m.Snapshot), data, store.IfAbsent()); err != nil {
		return Current{}, fmt.Errorf("write manifest of snapshot %s: %w", m.Snapshot, err)
	}
	return Current{Snapshot: m.Snapshot, ManifestSHA256: hexDigest(data)}, nil
}
