package evaluate

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/index"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/faiss"
	"github.com/facet-search/facet/stages/labels"
)

func TestMain(m *testing.M) {
	faiss.MaybeChild() // jobs/index runs FAISS in a child process, which is this binary again
	os.Exit(m.Run())
}

// fashion is the configuration of the reference model on the fashion gallery.
func fashion(t testing.TB, dir string) Config {
	testenv.ONNXRuntime(t)
	c := Defaults()
	c.Gallery = dir
	c.Model.Path = testenv.Shared(t, "models/fashion/model.onnx")
	c.Labels = labelled.Config{
		Format: "csv", Path: testenv.Shared(t, "gallery/fashion/styles.csv"), Key: "{id}.jpg", Split: "split", Missing: []string{"NA"},
		Tasks: []string{"articleType", "baseColour", "gender", "usage"},
	}
	return c
}

// report is what PyTorch measured when it had trained the reference model.
func report(t testing.TB) (r map[string]any) {
	data, err := os.ReadFile(testenv.Shared(t, "models/fashion/report.json"))
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// subset unpacks every nth image of the test split into a folder, and writes their rows of the labels.
// The first ones alone would be of a few kinds.
func subset(t testing.TB, n int) (dir, table string, images int) {
	f, err := os.Open(testenv.Shared(t, "gallery/fashion/styles.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows, wanted, seen := all[:1:1], map[string]bool{}, 0
	for _, r := range all[1:] {
		if r[len(r)-1] != "test" {
			continue
		}
		if seen++; seen%n == 0 {
			wanted[r[0]+".jpg"] = true
			rows = append(rows, r)
		}
	}
	dir = t.TempDir()
	testenv.FashionEach(t, len(all)-1, func(name string, data []byte) {
		if !wanted[name] {
			return
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	table = filepath.Join(t.TempDir(), "styles.csv")
	w, err := os.Create(table)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := csv.NewWriter(w).WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	return dir, table, len(wanted)
}

// On a part of the test split the reference model's triplet accuracies are those that PyTorch measured
// on all of it, within the error of so small a sample; and the embeddings of a published snapshot
// measure the same as the model itself.
func TestReferenceModel(t *testing.T) {
	dir, table, images := subset(t, 55)
	c := fashion(t, dir)
	c.Labels.Path = table
	c.Measure.Triplets = 2000
	direct, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range direct.Tasks {
		want := report(t)[task.Task].(map[string]any)["triplet_accuracy"].(float64)
		// Images are drawn again and again, so they and not the triplets make the error: 3σ.
		if tolerance := 3 * math.Sqrt(want*(1-want)/float64(images)); math.Abs(float64(task.TripletAccuracy)-want) > tolerance {
			t.Errorf("%s: triplet accuracy %.3f, PyTorch measured %.3f on all images", task.Task, task.TripletAccuracy, want)
		}
		if task.Queries+task.Unlabelled != images || task.Recall1 > task.Recall10 || task.Triplets != 2000 || task.Given {
			t.Errorf("%+v", task)
		}
	}
	job := index.Defaults()
	job.Gallery.Prefix, job.Model.Path, job.Output, job.Scratch = dir, c.Model.Path, t.TempDir(), t.TempDir()
	if _, err := index.Run(t.Context(), job, progress.Discard()); err != nil {
		t.Fatal(err)
	}
	c.Gallery, c.Model.Path, c.Output = "", "", job.Output
	stored, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(stored.Tasks, direct.Tasks) || stored.Images != direct.Images {
		t.Errorf("the snapshot measures\n%+v\nthe model\n%+v", stored.Tasks, direct.Tasks)
	}
	var out strings.Builder
	if err := stored.WriteTable(&out); err != nil || !strings.Contains(out.String(), "articleType") {
		t.Errorf("table %q, %v", out.String(), err)
	}
}

// points is a gallery of one task on a line: three of class a, two of b, one without a label.
func points() (*labels.Gallery, *Vectors) {
	g := &labels.Gallery{
		Keys:   []string{"0", "1", "3", "7", "15", "31"},
		Splits: []labels.Split{labels.Test, labels.Test, labels.Test, labels.Test, labels.Test, labels.Train},
		Tasks:  []labels.Task{{Name: "t", Classes: []string{"a", "b"}, IDs: []int32{0, 1, 0, 0, 1, -1}}},
	}
	v := newVectors([]pipeline.Task{{Name: "t", Output: "o", Dim: 1, Metric: pipeline.L2}}, g.Len())
	for i, x := range []float32{0, 1, 3, 7, 15, 31} {
		v.set(0, i, []float32{x})
		v.Have[i] = true
	}
	return g, v
}

func TestMeasure(t *testing.T) {
	g, v := points()
	m := DefaultMeasure()
	measure := func() TaskResult {
		t.Helper()
		rows, err := m.Rows(g)
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Tasks(t.Context(), g, rows, v, 2, progress.Discard())
		if err != nil {
			t.Fatal(err)
		}
		return r[0]
	}
	r := measure() // as package metrics' own test has it by hand
	if want := (7.0/12 + 1.0/4 + 7.0/12 + 5.0/6 + 1.0/3) / 5; math.Abs(float64(r.MAP)-want) > 1e-12 || r.Recall1 != 0.2 || r.Gallery != 5 {
		t.Errorf("%+v, want mAP %v", r, want)
	}
	m.Against, m.Limit = "all", 3 // 0 1 3; 15's class is found last
	if r := measure(); r.Gallery != 3 || r.Queries != 5 || r.Answerable != 4 || r.Recall10 != 0.8 {
		t.Errorf("against the first three: %+v", r)
	}
	m = DefaultMeasure()
	v.Have[1] = false // its label is as good as missing
	if r := measure(); r.Queries != 4 || r.Unlabelled != 1 || r.Gallery != 4 {
		t.Errorf("without one embedding: %+v", r)
	}
	g.Tasks[0].Triplets = map[labels.Split][]labels.Triplet{labels.Test: {{Anchor: 0, Near: 2, Far: 4}, {Anchor: 3, Near: 0, Far: 2}, {Anchor: 0, Near: 1, Far: 2}}}
	if r := measure(); !r.Given || r.Triplets != 2 || r.TripletAccuracy != 0.5 {
		t.Errorf("given triplets, one of an image without embedding: %+v", r)
	}
}

func TestNeededRows(t *testing.T) {
	g, _ := points()
	g.Tasks[0].Triplets = map[labels.Split][]labels.Triplet{labels.Train: {{Anchor: 5, Near: 0, Far: 1}}}
	m := Measure{Queries: "train", Against: "train"}
	rows, err := m.Rows(g)
	if err != nil {
		t.Fatal(err)
	}
	if got := rows.Needed(g); !slices.Equal(got, []int{0, 1, 5}) {
		t.Errorf("needed are %v, want the split and its triplets: [0 1 5]", got)
	}
	m.Queries = "val"
	if _, err := m.Rows(g); !errors.Is(err, jobfile.ErrConfig) {
		t.Errorf("an empty split: %v", err)
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[Figure]string{0.25: "0.25", 1.0 / 3: "0.3333333333333333", Figure(math.NaN()): "null"} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%v is %s in JSON, %v; want %s", v, got, err, want)
		}
		var back Figure
		if err := json.Unmarshal(got, &back); err != nil || back != v && !(math.IsNaN(float64(back)) && math.IsNaN(float64(v))) {
			t.Errorf("%s is read as %v, %v", got, back, err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	dir, table := t.TempDir(), filepath.Join(t.TempDir(), "l.csv")
	if err := os.WriteFile(table, []byte("key,gender,shape,split\na.jpg,x,y,test\nb.jpg,x,z,test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   error
	}{
		{"no model", func(c *Config) { c.Model.Path = "absent.onnx" }, jobfile.ErrConfig},
		{"no labels", func(c *Config) { c.Labels.Path = "absent.csv" }, jobfile.ErrConfig},
		{"no common task", func(c *Config) { c.Labels.Tasks = []string{"shape"} }, jobfile.ErrConfig},
		{"an unknown task", func(c *Config) { c.Tasks = []string{"gender", "shape"} }, jobfile.ErrConfig},
		{"no images", func(*Config) {}, sinks.ErrRejects},
		{"all images absent", func(c *Config) { c.Reject = 1 }, jobfile.ErrConfig},
		{"no snapshot", func(c *Config) { c.Output = dir }, sinks.ErrNoSnapshot},
	} {
		conf := fashion(t, dir)
		conf.Labels = labelled.Config{Format: "csv", Path: table, Key: "key", Split: "split", Tasks: []string{"gender", "shape"}}
		c.change(&conf)
		if _, err := Run(t.Context(), conf, progress.Discard()); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
}

// The reference is a job file with every default, and what is wrong is named by its key.
func TestConfig(t *testing.T) {
	name := filepath.Join(t.TempDir(), "job.yaml")
	if err := os.WriteFile(name, []byte(Reference), 0o600); err != nil {
		t.Fatal(err)
	}
	got := Defaults()
	if _, err := jobfile.Load(name, &got); err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Gallery, want.Model.Path, want.Labels, want.Tasks = got.Gallery, got.Model.Path, got.Labels, got.Tasks
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the reference says\n%+v\nthe defaults are\n%+v", got, want)
	}
	for field, change := range map[string]func(*Config){
		"gallery": func(c *Config) { c.Gallery = "" }, "model": func(c *Config) { c.Model.Path = "" }, "output": func(c *Config) { c.Output = "o" },
		"batch": func(c *Config) { c.Batch = 0 }, "reject": func(c *Config) { c.Reject = 2 }, "labels.tasks": func(c *Config) { c.Labels.Tasks = nil },
		"measure.queries": func(c *Config) { c.Measure.Queries = "tests" }, "measure.against": func(c *Config) { c.Measure.Against = "" },
		"measure.limit": func(c *Config) { c.Measure.Limit = -1 },
	} {
		c := Defaults()
		c.Gallery, c.Model.Path, c.Labels = "g", "m", labelled.Config{Format: "csv", Path: "p", Key: "k", Tasks: []string{"t"}}
		if p := c.Validate(); p != nil {
			t.Fatalf("a sound configuration: %v", p)
		}
		change(&c)
		if p := c.Validate(); len(p) != 1 || p[0].Field != field {
			t.Errorf("%s: problems %v", field, p)
		}
	}
}
