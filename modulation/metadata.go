package modulation

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/pipeline"
)

// The keys of an ONNX file's metadata_props that Facet reads and writes; both values are JSON.
const (
	TasksKey      = "facet.tasks"
	PreprocessKey = "facet.preprocess"
)

// SetMetadata states tasks and preprocessing in a model.
func SetMetadata(m *onnx.ModelProto, tasks []pipeline.Task, p pipeline.Preprocess) error {
	if err := errors.Join(checkTasks(tasks), checkPreprocess(p)); err != nil {
		return fmt.Errorf("set metadata: %w", err)
	}
	t, err := json.Marshal(tasks)
	if err != nil {
		return fmt.Errorf("set metadata %s: %w", TasksKey, err)
	}
	pre, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("set metadata %s: %w", PreprocessKey, err)
	}
	m.SetMetadata(TasksKey, string(t))
	m.SetMetadata(PreprocessKey, string(pre))
	return nil
}

var (
	taskKeys       = []string{"name", "output", "dim", "metric", "normalized"}
	preprocessKeys = []string{"resize", "size", "filter", "mean", "std", "scale", "channels", "orientation", "background"}
)

// parseTasks reads the value of TasksKey.
func parseTasks(doc string) ([]pipeline.Task, error) {
	var raw []json.RawMessage
	if err := decode(doc, &raw); err != nil {
		return nil, err
	}
	tasks := make([]pipeline.Task, len(raw))
	for i, r := range raw {
		if err := checkKeys(r, taskKeys, nil); err != nil {
			return nil, fmt.Errorf("task %d: %w", i+1, err)
		}
		if err := decode(string(r), &tasks[i]); err != nil {
			return nil, fmt.Errorf("task %d: %w", i+1, err)
		}
	}
	return tasks, nil
}

// parsePreprocess reads the value of PreprocessKey. Lists go through slices, because encoding/json
// neither misses nor minds elements of an array.
func parsePreprocess(doc string) (p pipeline.Preprocess, err error) {
	if err := checkKeys(json.RawMessage(doc), preprocessKeys, []string{"crop"}); err != nil {
		return p, err
	}
	var lists struct {
		Size, Crop, Mean, Std, Background []json.RawMessage
	}
	if err := json.Unmarshal([]byte(doc), &lists); err != nil {
		return p, err
	}
	if lists.Crop == nil {
		lists.Crop = make([]json.RawMessage, 2)
	}
	for _, l := range []struct {
		key       string
		got, want int
	}{
		{"size", len(lists.Size), 2}, {"crop", len(lists.Crop), 2},
		{"mean", len(lists.Mean), 3}, {"std", len(lists.Std), 3}, {"background", len(lists.Background), 3},
	} {
		if l.got != l.want {
			return p, fmt.Errorf("%q has %d elements, want %d", l.key, l.got, l.want)
		}
	}
	return p, decode(doc, &p)
}

// decode reads exactly one JSON value.
func decode(doc string, v any) error {
	d := json.NewDecoder(strings.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows after the end of the JSON value")
	}
	return nil
}

// checkKeys refuses an object with unknown, repeated or missing keys. encoding/json alone takes keys in
// any case, the last of several, and zero for what is missing.
func checkKeys(object json.RawMessage, required, optional []string) error {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("is not a JSON object")
	}
	var seen []string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if !slices.Contains(required, key) && !slices.Contains(optional, key) {
			return fmt.Errorf("unknown key %q, want %s", key, strings.Join(slices.Concat(required, optional), ", "))
		}
		if slices.Contains(seen, key) {
			return fmt.Errorf("key %q is there twice", key)
		}
		seen = append(seen, key)
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		if string(value) == "null" {
			return fmt.Errorf("key %q is null", key)
		}
	}
	for _, key := range required {
		if !slices.Contains(seen, key) {
			return fmt.Errorf("key %q is missing", key)
		}
	}
	return nil
}

// maxTasks is far above any model's and keeps a hostile file from costing tasks × nodes.
const maxTasks = 1024

func checkTasks(tasks []pipeline.Task) error {
	if len(tasks) == 0 || len(tasks) > maxTasks {
		return fmt.Errorf("the model has %d tasks, want 1 to %d", len(tasks), maxTasks)
	}
	names, outputs := make(map[string]bool), make(map[string]string)
	for _, t := range tasks {
		if err := t.Validate(); err != nil {
			return err
		}
		if names[t.Name] {
			return fmt.Errorf("two tasks are named %q", t.Name)
		}
		if other, taken := outputs[t.Output]; taken {
			return fmt.Errorf("tasks %q and %q both read output %q", other, t.Name, t.Output)
		}
		names[t.Name], outputs[t.Output] = true, t.Name
	}
	return nil
}

func checkPreprocess(p pipeline.Preprocess) error {
	if err := p.Validate(); err != nil {
		return err
	}
	for _, v := range append(append(p.Mean[:], p.Std[:]...), p.Scale) {
		if math.IsNaN(v) || math.IsInf(float64(float32(v)), 0) {
			return fmt.Errorf("preprocess: mean, std or scale holds %v, which is no float32", v)
		}
	}
	for c, s := range append(p.Std[:], p.Scale) {
		if float32(s) == 0 {
			return fmt.Errorf("preprocess: std[%d] or scale is 0 in float32", c)
		}
	}
	return nil
}
