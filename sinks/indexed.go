package sinks

import "context"

// Indexed enters built indexes into the manifest. It is a pipeline.Sink.
type Indexed struct{ Manifest *Manifest }

// Write implements pipeline.Sink.
func (s Indexed) Write(_ context.Context, b *BuiltIndex) error {
	for i := range s.Manifest.Tasks {
		if t := &s.Manifest.Tasks[i]; t.Name == b.Task {
			t.Index = b.Index
			if t.Index.Origin.Trained == "" {
				t.Index.Origin.Trained = s.Manifest.Snapshot
			}
		}
	}
	l := s.Manifest.Ledger.Tasks[b.Task]
	l.NTotal = b.Index.NTotal
	s.Manifest.Ledger.Tasks[b.Task] = l
	s.Manifest.Files = append(s.Manifest.Files, b.Files...)
	return nil
}

// Commit implements pipeline.Committer.
func (Indexed) Commit(context.Context) error { return nil }
