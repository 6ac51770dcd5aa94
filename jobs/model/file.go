// Package model is the files around the commands that rewrite models: models read and written whole,
// and the file of a weaving's scales.
package model

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/pipeline"
)

// Read is a model file's bytes.
func Read(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: model: %w", jobfile.ErrConfig, err)
	}
	return b, nil
}

// Write makes the file whole or not at all. A file that is there already is refused, unless it may be
// replaced.
func Write(name string, data []byte, replace bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".facet-*")
	if err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write model %s: %w", name, err)
	}
	if replace {
		err = os.Rename(f.Name(), name)
	} else if err = os.Link(f.Name(), name); errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s is there already: name another --output, or say --force to replace it", jobfile.ErrConfig, name)
	}
	if err != nil {
		return fmt.Errorf("write model: %w", err)
	}
	return nil
}

// Scales is a file (YAML or JSON) of a weaving: where tasks are modulated, and by what.
type Scales struct {
	Sites []string               `yaml:"sites"` // tensors or rules, see weave.Sites
	Tasks map[string][][]float32 `yaml:"tasks"` // one vector a site, in the order of Sites
}

// ReadScales reads such a file.
func ReadScales(name string) (Scales, error) {
	var s Scales
	_, err := jobfile.Load(name, &s)
	return s, err
}

// ReadPreprocess reads a file (YAML or JSON) that says how images become a network's input.
func ReadPreprocess(name string) (*pipeline.Preprocess, error) {
	var p pipeline.Preprocess
	if _, err := jobfile.Load(name, &p); err != nil {
		return nil, err
	}
	return &p, nil
}
