package gc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
)

// live is what stays: every object that a kept snapshot or a record of unpublished work names.
type live struct {
	objects   store.Store
	paths     map[string]bool
	snapshots []string // that are kept, the current one first
}

// find collects what is live below an output, with the last keep ancestors of the current snapshot.
func find(ctx context.Context, objects store.Store, keep int) (*live, error) {
	l := &live{objects: objects, paths: map[string]bool{}}
	current, err := sinks.OpenCurrent(ctx, objects)
	if err != nil && !errors.Is(err, sinks.ErrNoSnapshot) {
		return nil, err // what cannot be read may name anything
	}
	parent := ""
	if err == nil {
		parent = current.Snapshot
		if err := l.keepChain(ctx, current, keep); err != nil {
			return nil, err
		}
	}
	if err := l.keepOthers(ctx); err != nil {
		return nil, err
	}
	return l, l.keepRecords(ctx, parent)
}

func (l *live) keep(s *sinks.Snapshot) {
	l.snapshots = append(l.snapshots, s.Snapshot)
	l.paths[sinks.ManifestPath(s.Snapshot)] = true
	for _, p := range sinks.DecisionPaths(s.Snapshot) {
		l.paths[p] = true
	}
	for _, f := range s.Files {
		l.paths[f.Path] = true
	}
}

// keepChain keeps a snapshot and its ancestors, as far as there are.
func (l *live) keepChain(ctx context.Context, s *sinks.Snapshot, ancestors int) error {
	l.keep(s)
	for ; ancestors > 0 && s.Parent != nil; ancestors-- {
		older, err := sinks.OpenSnapshot(ctx, l.objects, *s.Parent)
		if errors.Is(err, sinks.ErrNoSnapshot) {
			return nil // collected before
		}
		if err != nil {
			return fmt.Errorf("ancestor %s: %w", *s.Parent, err)
		}
		l.keep(older)
		s = older
	}
	return nil
}

// keepOthers keeps what a person may still want: every snapshot that is newer than the current one, as
// after a rollback, and those that the gate refused since the oldest kept one. Ids rise with time.
func (l *live) keepOthers(ctx context.Context) error {
	if len(l.snapshots) == 0 {
		return nil
	}
	current, oldest := l.snapshots[0], slices.Min(l.snapshots)
	ids, err := l.ids(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id < oldest || slices.Contains(l.snapshots, id) {
			continue
		}
		s, err := sinks.OpenSnapshot(ctx, l.objects, id)
		if errors.Is(err, sinks.ErrNoSnapshot) {
			continue // a run died before it had written the manifest
		}
		if err != nil {
			return fmt.Errorf("%w; nothing was deleted, since it may be wanted: delete the folder %s to be rid of it", err, path.Dir(sinks.ManifestPath(id)))
		}
		if id > current || refused(s) {
			l.keep(s)
		}
	}
	return nil
}

// ids are the names of all folders of snapshots.
func (l *live) ids(ctx context.Context) ([]string, error) {
	ids := map[string]bool{}
	for ref, err := range l.objects.List(ctx, sinks.SnapshotsDir+"/") {
		if err != nil {
			return nil, err
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(ref.Key, sinks.SnapshotsDir+"/"), "/")
		ids[id] = true
	}
	return slices.SortedFunc(maps.Keys(ids), cmp.Compare), nil
}

func refused(s *sinks.Snapshot) bool {
	return slices.ContainsFunc(s.Gate, func(c sinks.Check) bool { return !c.OK })
}

// keepRecords keeps the finished work of killed runs, which goes on from the current snapshot or from
// none.
func (l *live) keepRecords(ctx context.Context, parent string) error {
	for ref, err := range l.objects.List(ctx, sinks.RecordsDir+"/") {
		if err != nil {
			return err
		}
		rec, err := sinks.ReadRecord(ctx, l.objects, ref.Key)
		if errors.Is(err, sinks.ErrDamaged) {
			continue
		}
		if err != nil {
			return err
		}
		if rec.Parent != parent {
			continue
		}
		l.paths[ref.Key] = true
		for _, f := range rec.Files {
			l.paths[f.Path] = true
		}
	}
	return nil
}
