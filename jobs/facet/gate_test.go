package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/internal/testmodel"
)

// step is one command with the exit code that it must have and what it must print.
type step struct {
	what string
	args []string
	code int
	says string
}

func walk(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		code, out, errs := facet(t, s.args...)
		if code != s.code || !strings.Contains(out+errs, s.says) {
			t.Fatalf("%s: exit code %d, want %d, and %q in\n%s%s", s.what, code, s.code, s.says, out, errs)
		}
	}
}

// listed are the snapshots below an output with their states, oldest first.
func listed(t *testing.T, output string) (ids, states []string) {
	t.Helper()
	code, out, errs := facet(t, "snapshots", "--json", "--output", output)
	if code != exitOK {
		t.Fatalf("snapshots: exit code %d\n%s", code, errs)
	}
	for line := range strings.Lines(out) {
		var s struct{ Snapshot, State string }
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		ids, states = append(ids, s.Snapshot), append(states, s.State)
	}
	return ids, states
}

// A refused snapshot can be looked at, accepted and taken back, each with a name and a reason; an emptied
// bucket and a snapshot with a missing file never become current.
func TestGate(t *testing.T) {
	gallery, out := testenv.Fashion(t, 100), t.TempDir()
	night := func(more ...string) []string {
		return append([]string{"index", "--gallery", gallery, "--output", out, "--tasks", "gender", "--model"}, more...)
	}
	good, bad := testenv.Shared(t, "models/fashion/model.onnx"), testmodel.Edited(t, testmodel.Constant)
	walk(t, []step{
		{"a night", night(good), exitOK, "published snapshot"},
		{"a night with a bad model", night(bad), exitRefused, "refused by the gate: neighbours: "},
	})
	ids, states := listed(t, out)
	if !slices.Equal(states, []string{"current", "refused"}) {
		t.Fatalf("%v are %v", ids, states)
	}
	who := []string{"--output", out, "--by", "ann", "--reason", "meant so"}
	with := func(args ...string) []string { return append(args, who...) }
	walk(t, []step{
		{"the difference", []string{"diff", ids[0], ids[1], "--output", out}, exitOK, "0 added, 0 removed, 0 changed, 0 relisted; read 0 of 1 shards"},
		{"accepting without a name", []string{"publish", "--accept", ids[1], "--output", out}, exitUsage, "--by, --reason"},
		{"accepting what is not there", with("publish", "--accept", "nothing"), exitError, "no snapshot is published under the id nothing"},
		{"accepting", with("publish", "--accept", ids[1]), exitOK, "is current (accept by ann)"},
		{"accepting again", with("publish", "--accept", ids[1]), exitError, "current one already"},
		{"the accepted one", []string{"verify", "--output", out}, exitOK, "0 differences"},
		{"the table", []string{"snapshots", "--output", out}, exitOK, "current, accepted by ann"},
		{"rolling back", with("rollback"), exitOK, "is current (rollback by ann)"},
		{"rolling back the first", with("rollback"), exitError, "no parent"},
		{"the table", []string{"snapshots", "--output", out}, exitOK, "rolled back by ann"},
		{"the night after", night(good), exitOK, ""},
	})
	if again, states := listed(t, out); !slices.Equal(states, []string{"current", "rolled back"}) {
		t.Errorf("%v are %v", again, states)
	}
	loseIndex(t, out, ids[1])
	walk(t, []step{{"rolling back to what lacks a file", with("rollback", "--to", ids[1]), exitError, "are missing or of another size"}})
	loseIndex(t, out, ids[0])
	walk(t, []step{
		{"a lost index", []string{"verify", "--output", out}, exitDifferences, "knn.index is missing"},
		{"repairing it", []string{"verify", "--repair", "--output", out}, exitOK, "0 images embedded again, 100 named again"},
		{"the repaired one", []string{"verify", "--deep", "--output", out}, exitOK, "0 images have changed since"},
	})
	if err := os.RemoveAll(gallery); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(gallery, 0o700); err != nil {
		t.Fatal(err)
	}
	walk(t, []step{{"an emptied bucket", night(good), exitRefused, "deleted: the listing is empty, the parent's had 100 images"}})
}

// loseIndex removes the index of a snapshot.
func loseIndex(t *testing.T, out, id string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, "snapshots", id, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Files []struct{ Path, Kind string } }
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Files {
		if f.Kind == "index" {
			if err := os.Remove(filepath.Join(out, f.Path)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
