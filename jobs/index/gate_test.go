package index

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/internal/testmodel"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/gate"
	"github.com/facet-search/facet/sinks/store"
)

// refused runs a job that the gate must refuse for the check of that name.
func refused(t *testing.T, c Config, check string) *Result {
	t.Helper()
	before := current(t, c.Output).Pointer()
	r, err := Run(t.Context(), c, progress.Discard())
	if !errors.Is(err, gate.ErrRefused) || !strings.Contains(err.Error(), check+": ") {
		t.Fatalf("%v, want it refused for %s", err, check)
	}
	checkScratch(t, c)
	if now := current(t, c.Output).Pointer(); now != before {
		t.Errorf("refused, but CURRENT moved from %+v to %+v", before, now)
	}
	return r
}

// failed names the checks of a stored snapshot that did not pass.
func failed(t *testing.T, output, id string) map[string]bool {
	t.Helper()
	objects, err := store.Open(t.Context(), output)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sinks.OpenSnapshot(t.Context(), objects, id)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, g := range s.Gate {
		if g.Text == "" {
			t.Errorf("a check without words: %+v", g)
		}
		if !g.OK {
			names[strings.Trim(g.Name+" "+g.Task, " ")] = true
		}
	}
	return names
}

// A second night whose model is bad is refused, and stays readable with the checks in its manifest.
func TestGateRefusesBadModels(t *testing.T) {
	c := night(t, testenv.Fashion(t, 120), t.TempDir())
	run(t, c)
	if f := failed(t, c.Output, current(t, c.Output).Snapshot); len(f) > 0 {
		t.Errorf("published in spite of %v", f)
	}
	for want, edit := range map[string]func(*onnx.ModelProto){"spread articleType": testmodel.Untrained, "neighbours gender": testmodel.Constant} {
		c.Model.Path = testmodel.Edited(t, edit)
		check, _, _ := strings.Cut(want, " ")
		r := refused(t, c, check)
		if f := failed(t, c.Output, r.Snapshot); !f[want] {
			t.Errorf("%v failed, want %s among them", f, want)
		}
	}
}

// An index that does not find its vectors is refused, and so is a first night's model that says the same
// of every image.
func TestGateRefusesTheFirstNight(t *testing.T) {
	c := night(t, testenv.Fashion(t, 200), t.TempDir())
	c.Tasks = []string{"gender"}
	for check, spoil := range map[string]func(*Config){
		"recall": func(c *Config) { c.Index = map[string]string{"gender": "PQ1x4"} },
		"spread": func(c *Config) { c.Model.Path = testmodel.Edited(t, testmodel.Constant) },
	} {
		c := c
		spoil(&c)
		r, err := Run(t.Context(), c, progress.Discard())
		if !errors.Is(err, gate.ErrRefused) || r == nil || !failed(t, c.Output, r.Snapshot)[check+" gender"] {
			t.Errorf("%s: %v", check, err)
		}
		if _, err := os.Stat(filepath.Join(c.Output, sinks.CurrentPath)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("CURRENT: %v, want it absent", err)
		}
	}
}

// A bucket that lost a good part of its images, or all, stops the night before an image is read.
func TestGateRefusesAnEmptiedBucket(t *testing.T) {
	dir := testenv.Fashion(t, 60)
	c := night(t, dir, t.TempDir())
	run(t, c)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		if i == 20 {
			if r := refused(t, c, "deleted"); r != nil {
				t.Errorf("snapshot %s of a bucket that lost a third", r.Snapshot)
			}
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	c.Gate.Deleted = 1
	refused(t, c, "deleted")
}
