package compare

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// fingerprint identifies all that a run's result depends on. The leading text is the version of how
// results are made.
func (s *stage) fingerprint(t trial) (string, error) {
	c := s.config
	c.Recipe.Seed = t.seed
	doc, err := json.Marshal([]any{"facet compare 1", t.method, c.Network, c.Recipe, c.Preprocess, c.Measure, s.data.digest()})
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:]), nil
}

// folder keeps a folder a run: result.json and model.onnx of finished ones, state of others.
type folder string

func (f folder) path(t trial, name string) string { return filepath.Join(string(f), t.String(), name) }

// finished reads the result of a run, if there is one with that fingerprint. One that is damaged is none.
func (f folder) finished(t trial, fingerprint string) (*Finished, bool, error) {
	data, err := os.ReadFile(f.path(t, "result.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("finished run: %w", err)
	}
	var r Finished
	if json.Unmarshal(data, &r) != nil || r.Fingerprint != fingerprint {
		return nil, false, nil
	}
	return &r, true, nil
}

// keep writes a finished run; the result last, since it says that all is there.
func (f folder) keep(t trial, r *Finished, model []byte) error {
	doc, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	if err := errors.Join(f.write(t, "model.onnx", model), f.write(t, "result.json", append(doc, '\n'))); err != nil {
		return err
	}
	if err := os.Remove(f.path(t, "state")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep run: %w", err)
	}
	return nil
}

// model reads a finished run's ONNX file.
func (f folder) model(t trial) ([]byte, error) {
	data, err := os.ReadFile(f.path(t, "model.onnx"))
	if err != nil {
		return nil, fmt.Errorf("finished run's model: %w", err)
	}
	return data, nil
}

// state is what saveState saved last; nil for none.
func (f folder) state(t trial) ([]byte, error) {
	data, err := os.ReadFile(f.path(t, "state"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("saved state: %w", err)
	}
	return data, nil
}

func (f folder) saveState(t trial, state []byte) error { return f.write(t, "state", state) }

// write replaces a file of a run, whole or not at all.
func (f folder) write(t trial, name string, data []byte) error {
	return writeFile(f.path(t, name), data)
}

// writeFile replaces a file, whole or not at all, and makes its folder.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	w, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(w.Name())
	_, err = w.Write(data)
	if err := errors.Join(err, w.Chmod(0o640), w.Sync(), w.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(w.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
