package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
)

func TestRefusedBeforeAnyWork(t *testing.T) {
	dir := testenv.Fashion(t, 3)
	for what, spoil := range map[string]func(*Config){
		"a task that the model lacks": func(c *Config) { c.Tasks = []string{"shoe size"} },
		"a task named twice":          func(c *Config) { c.Tasks = []string{"usage", "usage"} },
		"a bad index type":            func(c *Config) { c.Index = map[string]string{"default": "IVFfoo"} },
		"an index of no task":         func(c *Config) { c.Index = map[string]string{"shape": "Flat"} },
		"a model that is none": func(c *Config) {
			c.Model.Path = filepath.Join(dir, "x")
			os.WriteFile(c.Model.Path, []byte("x"), 0o600)
		},
		"an output on another planet": func(c *Config) { c.Output = "mars://x" },
	} {
		c := night(t, dir, t.TempDir())
		spoil(&c)
		if _, err := Run(t.Context(), c, progress.Discard()); !errors.Is(err, jobfile.ErrConfig) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestReferenceIsTheDefaults(t *testing.T) {
	name := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(name, []byte(Reference), 0o600); err != nil {
		t.Fatal(err)
	}
	got, want := Defaults(), Defaults()
	if _, err := jobfile.Load(name, &got); err != nil {
		t.Fatal(err)
	}
	want.Gallery.Prefix, want.Model.Path, want.Output = got.Gallery.Prefix, got.Model.Path, got.Output
	want.Tasks, want.Index = []string{}, map[string]string{"default": "auto"}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("the reference says\n%+v, the defaults are\n%+v", got, want)
	}
}

func TestValidate(t *testing.T) {
	good := Defaults()
	good.Gallery.Prefix, good.Output, good.Model.Path = "x", "y", os.Args[0]
	if p := good.Validate(); len(p) > 0 {
		t.Fatalf("%v", p)
	}
	for field, spoil := range map[string]func(*Config){
		"gallery":           func(c *Config) { c.Gallery.Prefix = "" },
		"model":             func(c *Config) { c.Model.Path = "none.onnx" },
		"output":            func(c *Config) { c.Output = "" },
		"limits.reject":     func(c *Config) { c.Limits.Reject = 2 },
		"limits.pixels":     func(c *Config) { c.Limits.Pixels = 0 },
		"shard_size":        func(c *Config) { c.ShardSize = 0 },
		"batch":             func(c *Config) { c.Batch = -1 },
		"engine":            func(c *Config) { c.Engine = "tpu" },
		"format":            func(c *Config) { c.Format = "csv" },
		"lease":             func(c *Config) { c.Lease = 0 },
		"--retry":           func(c *Config) { c.Retry = []string{"gone", "ugly"} },
		"recall.target":     func(c *Config) { c.Recall.Target = 1.5 },
		"retrain.changed":   func(c *Config) { c.Retrain.Changed = 2 },
		"retrain.imbalance": func(c *Config) { c.Retrain.Imbalance = 0.5 },
		"limits.seconds":    func(c *Config) { c.Limits.Seconds = 0 },
	} {
		c := good
		spoil(&c)
		if p := c.Validate(); len(p) != 1 || p[0].Field != field {
			t.Errorf("%s: %v", field, p)
		}
	}
}

// The README shows the same reference.
func TestReadmeShowsTheReference(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testenv.Root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), Reference) {
		t.Error("README.md does not show the job file's reference as `facet index --help` does")
	}
}

// FuzzConfig: no job file makes reading or validating it panic, and what is accepted is within bounds
// that no image or listing can lift.
func FuzzConfig(f *testing.F) {
	f.Add(Reference)
	f.Add("gallery: {manifest: s3://a/b.csv, prefix: s3://a/, attributes: [x]}\nmodel: {path: m.onnx, preprocess: {size: [1, 2]}}\noutput: o\n")
	f.Add("limits: {seconds: 0, bytes: 0, pixels: .nan, scans: -1}\n")
	f.Add("limits: {seconds: .inf, reject: .nan}\nrecall: {target: -.inf}\n")
	f.Add("a: &a [*a]\ngallery: *a\n")
	f.Add("gallery: !!binary aGk=\nmodel: {tasks: [{dim: 1e99}]}\nindex: {? {a: b} : c}\n")
	f.Add("<<: {gallery: x}\nlimits: {<<: {seconds: 9}}\n---\noutput: y\n")
	name := filepath.Join(f.TempDir(), "job.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Defaults()
		file, err := jobfile.Load(name, &c)
		if err != nil {
			return
		}
		if err := file.Check(c.Validate()); err != nil {
			return
		}
		if l := c.imageLimits(); l.Bytes < 1 || l.Pixels < 1 || l.Scans < 1 || l.Time < 1 || !(c.Limits.Reject <= 1) {
			t.Errorf("accepted limits %+v of %q", l, text)
		}
	})
}
