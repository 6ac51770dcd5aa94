package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/train"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
)

// maxDemoModel keeps the repository small.
const maxDemoModel = 4 << 20

// The committed model is small, has the demo's tasks, and was made by the committed job file, as its
// metadata say.
func TestDemoModel(t *testing.T) {
	dir := filepath.Join(testenv.Root(t), "testdata/demo")
	file, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
	if err != nil || len(file) > maxDemoModel {
		t.Fatalf("%d bytes, %v; want at most %d", len(file), err, maxDemoModel)
	}
	m, err := modulation.Open(file, modulation.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, task := range m.Tasks {
		names = append(names, task.Name)
	}
	if want := []string{"category", "subcategory", "style", "skin_tone"}; !slices.Equal(names, want) {
		t.Errorf("tasks %q, want %q", names, want)
	}
	job := train.Defaults()
	if _, err := jobfile.Load(filepath.Join(dir, "train.yaml"), &job); err != nil {
		t.Fatal(err)
	}
	p, err := onnx.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	doc, _ := p.Metadata(train.MadeByKey)
	var made train.Provenance
	if err := json.Unmarshal([]byte(doc), &made); err != nil {
		t.Fatalf("metadata %q: %v", doc, err)
	}
	if made.Run.Recipe != job.Recipe || m.Preprocess != job.Preprocess || made.Network.Dim != job.Network.Dim || !slices.Equal(made.Network.Widths, job.Network.Widths) {
		t.Errorf("the model was made by\n%+v\nthe job file says\n%+v", made, job)
	}
	night := index.Defaults()
	if _, err := jobfile.Load(filepath.Join(dir, "index.yaml"), &night); err != nil || night.Model.Path != "testdata/demo/model.onnx" {
		t.Errorf("the demo's job runs %q, %v", night.Model.Path, err)
	}
}
