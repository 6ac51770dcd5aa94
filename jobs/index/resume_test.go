package index

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
)

// content is all of a manifest that must not depend on how often a run was interrupted.
func content(t *testing.T, s *sinks.Snapshot) string {
	t.Helper()
	m := *s.Manifest
	m.Created, m.Parent = time.Time{}, nil
	m.Files = slices.Clone(m.Files)
	for i, f := range m.Files {
		switch f.Kind {
		case sinks.QuarantineTable:
			m.Files[i].Path = "" // of the snapshot's own folder
		case sinks.IndexInfos: // holds latencies
			m.Files[i].SHA256, m.Files[i].Bytes = "", 0
		}
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), m.Snapshot, "THIS")
}

// records are the names of what is recorded below an output.
func records(t *testing.T, output string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(output, sinks.RecordsDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A run that is interrupted again and again does no shard twice, and ends in the same bytes as one that
// was never stopped; so does one whose last record was not written whole.
func TestResume(t *testing.T) {
	dir := testenv.Fashion(t, 160)
	spoil(t, dir)
	c := night(t, dir, t.TempDir())
	c.ShardSize, c.Limits.Reject = 20, 0.1
	c.Index = map[string]string{"usage": "IVF4,Flat"}
	whole := c
	whole.Output = t.TempDir()
	run(t, whole)
	want := content(t, current(t, whole.Output))

	before := 0
	for range 4 {
		stopAfter(t, c, before+2)
		now := len(records(t, c.Output))
		if now < before+2 {
			t.Fatalf("%d shards are recorded, %d were before", now, before)
		}
		before = now
	}
	names := records(t, c.Output)
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[0], data[:len(data)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, c)
	if d := testenv.Difference(content(t, current(t, c.Output)), want); d != "" {
		t.Errorf("the manifest after interruptions: %s", d)
	}
	checkVerify(t, c.Output, 160)
	if left := records(t, c.Output); len(left) > 0 {
		t.Errorf("%d records are left, such as %s", len(left), left[0])
	}
}

// stopAfter runs a job until so many pieces of work are recorded.
func stopAfter(t *testing.T, c Config, n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if names, _ := filepath.Glob(filepath.Join(c.Output, sinks.RecordsDir, "*")); len(names) >= n {
				cancel()
			}
			time.Sleep(2 * time.Millisecond)
		}
	}()
	_, err := Run(ctx, c, progress.Discard())
	cancel()
	<-done
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	checkScratch(t, c)
}

// A second run is refused while the first is at work, and says who that is.
func TestTwoRuns(t *testing.T) {
	c := night(t, testenv.Fashion(t, 20), t.TempDir())
	c.Tasks = []string{"usage"}
	objects, err := store.Open(t.Context(), c.Output)
	if err != nil {
		t.Fatal(err)
	}
	lease, err := sinks.Acquire(t.Context(), objects, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), c, progress.Discard()); !errors.Is(err, sinks.ErrLeased) {
		t.Errorf("a second run: %v", err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, c)
}

// The model's digest can be pinned.
func TestPinnedModel(t *testing.T) {
	c := night(t, testenv.Fashion(t, 3), t.TempDir())
	c.Model.SHA256 = fmt.Sprintf("%064x", 7)
	if _, err := Run(t.Context(), c, progress.Discard()); err == nil {
		t.Error("another model than the pinned one is taken")
	}
	c.Model.SHA256 = "762A97e2213d29185657ca82db8d22571e982782c69ce656b00d0f8860b3b0f2"
	run(t, c)
}
