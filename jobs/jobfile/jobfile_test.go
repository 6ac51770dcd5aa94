package jobfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type sample struct {
	Name   string         `yaml:"name"`
	Limits sampleLimits   `yaml:"limits"`
	Where  place          `yaml:"where"`
	Size   Quantity       `yaml:"size"`
	Types  map[string]int `yaml:"types"`
}

type sampleLimits struct {
	Reject float64 `yaml:"reject"`
}

type place struct {
	Prefix string `yaml:"prefix"`
	Key    string `yaml:"key"`
}

func (p *place) UnmarshalYAML(decode func(any) error) error {
	if decode(&p.Prefix) == nil {
		return nil
	}
	type mapping place
	return decode((*mapping)(p))
}

func load(t *testing.T, text string, v any) (*File, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(name, v)
}

func TestLoad(t *testing.T) {
	s := sample{Name: "default", Limits: sampleLimits{Reject: 0.5}}
	if _, err := load(t, "where: s3://b/p/ # a comment\nsize: 64MiB\n", &s); err != nil {
		t.Fatal(err)
	}
	if s.Name != "default" || s.Limits.Reject != 0.5 || s.Where.Prefix != "s3://b/p/" || s.Size != 64<<20 {
		t.Fatalf("loaded %+v", s)
	}
	if _, err := load(t, "where: {prefix: x, key: k}\nsize: 1000", &s); err != nil || s.Where.Key != "k" || s.Size != 1000 {
		t.Fatalf("loaded %+v, %v", s, err)
	}
	if _, err := load(t, "", &s); err != nil {
		t.Fatalf("an empty file: %v", err)
	}
}

func TestLoadRefusesWithLine(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\nlimit: {reject: 1}\n":         "job.yaml:2:1: unknown field \"limit\"",
		"name: a\nlimits:\n  rejects: 1\n":      "job.yaml:3:3: unknown field \"rejects\"",
		"name: a\nlimits: {reject: many}\n":     "job.yaml:2:",
		"name: a\nsize: 64 elephants\n":         "quantity",
		"name: a\nwhere: {prefix: p, kez: 1}\n": "unknown field \"kez\"",
		"name: a\nname: b\n":                    "job.yaml:2:1",
		"name: [\n":                             "job.yaml:1:",
	} {
		var s sample
		_, err := load(t, text, &s)
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to say %q", text, err, want)
		}
	}
	var s sample
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), &s); !errors.Is(err, ErrConfig) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestCheckNamesLines(t *testing.T) {
	var s sample
	f, err := load(t, "name: a\n\nlimits:\n  # no more than this\n  reject: 7\n", &s)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Check([]Problem{
		{Field: "limits.reject", Text: "is 7, want 0 to 1", Hint: "a share"},
		{Field: "where", Text: "is missing"},
	})
	for _, want := range []string{"job.yaml:5: limits.reject: is 7, want 0 to 1 (a share)", "job.yaml: where: is missing"} {
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
	if err := f.Check(nil); err != nil {
		t.Error(err)
	}
	var none *File
	if err := none.Check([]Problem{{Field: "output", Text: "is missing"}}); err == nil || strings.Contains(err.Error(), "yaml") {
		t.Errorf("without a file: %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("name: a\nlimits: {reject: 0.1}\nwhere: x\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		var s sample
		load(t, text, &s)
	})
}
