package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation"
	"github.com/facet-search/facet/modulation/onnx"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/zoo"
	"github.com/facet-search/facet/sinks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patches makes a gallery of n images whose colour and brighter half are their labels, some of which
// are missing, and a table of them; it returns a configuration that trains on them.
func patches(t *testing.T, n int) Config {
	t.Helper()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 1))
	table := "key,colour,half,split\n"
	for i := range n {
		hue, half := rng.IntN(3), rng.IntN(2)
		name := fmt.Sprintf("%03d.png", i)
		patch(t, filepath.Join(dir, name), hue, half, rng)
		label := []string{"top", "bottom"}[half]
		if i%9 == 4 {
			label = ""
		}
		table += fmt.Sprintf("%s,%s,%s,%s\n", name, []string{"red", "green", "blue"}[hue], label, []string{"train", "train", "val"}[i%3])
	}
	c := Defaults()
	c.Gallery, c.Output = dir, filepath.Join(t.TempDir(), "run")
	c.Labels.Path, c.Labels.Split = filepath.Join(t.TempDir(), "labels.csv"), "split"
	c.Labels.Tasks = []string{"colour", "half"}
	write(t, c.Labels.Path, table)
	c.Network.Dim, c.Network.Widths = 8, []int{8, 8, 8, 8, 8}
	c.Preprocess.Size = [2]int{16, 16}
	c.Recipe.Steps, c.Recipe.Schedule.Rate, c.Recipe.Compliance = 12, 0.01, 4
	c.Recipe.Batch.Rows = 8
	c.Validate.Every, c.Validate.Triplets, c.Checkpoint = 5, 200, 5
	c.Threads, c.Cores = 1, 2
	return c
}

func patch(t *testing.T, name string, hue, half int, rng *rand.Rand) {
	t.Helper()
	im := image.NewRGBA(image.Rect(0, 0, 16, 16))
	for y := range 16 {
		for x := range 16 {
			p := [3]uint8{}
			for c := range p {
				p[c] = uint8(rng.IntN(60))
				if c == hue {
					p[c] += 90
				}
				if (y < 8) == (half == 0) {
					p[c] += 90
				}
			}
			im.SetRGBA(x, y, color.RGBA{p[0], p[1], p[2], 255})
		}
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := png.Encode(f, im); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func run(t *testing.T, c Config) *Result {
	t.Helper()
	if p := c.Problems(); p != nil {
		t.Fatal(p)
	}
	r, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTrain(t *testing.T) {
	c := patches(t, 90)
	c.Recipe.Steps = 60
	r := run(t, c)
	for _, task := range r.Tasks {
		if task.Accuracy < 0.8 || task.Scales != 24 {
			t.Errorf("%+v", task)
		}
	}
	m, err := modulation.Open(read(t, c.Output, modelFile), modulation.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Tasks) != 2 || m.Tasks[1].Name != "half" || m.Tasks[1].Dim != 8 || m.Preprocess != c.Preprocess {
		t.Errorf("tasks %+v, preprocess %+v", m.Tasks, m.Preprocess)
	}
	checkProvenance(t, c, r)
	for _, name := range []string{"loss.csv", "loss.png", "validation.csv", "validation.png", "compliance.csv", "compliance.png"} {
		if len(read(t, c.Output, name)) < 100 {
			t.Errorf("%s is almost empty", name)
		}
	}
	if rows := strings.Count(string(read(t, c.Output, "loss.csv")), "\n"); rows != 61 {
		t.Errorf("loss.csv has %d lines, want 61", rows)
	}
	if left, _ := filepath.Glob(filepath.Join(c.Output, ".*")); left != nil {
		t.Errorf("temporary files are left: %q", left)
	}
}

func checkProvenance(t *testing.T, c Config, r *Result) {
	t.Helper()
	file, err := onnx.Read(read(t, c.Output, modelFile))
	if err != nil {
		t.Fatal(err)
	}
	doc, _ := file.Metadata(MadeByKey)
	var made Provenance
	if err := json.Unmarshal([]byte(doc), &made); err != nil {
		t.Fatal(err)
	}
	if made.Run.Recipe != c.Recipe || made.Steps != 60 || made.Draws != r.Draws || made.Images != 60 || len(made.Run.Data) != 64 || made.Network.Start != "small" {
		t.Errorf("the model was made by %+v", made)
	}
}

// TestResume interrupts a run between checkpoints, goes on, and wants the bytes of a run that was never
// interrupted.
func TestResume(t *testing.T) {
	c := patches(t, 60)
	run(t, c)
	whole := read(t, c.Output, modelFile)
	c.Output = filepath.Join(t.TempDir(), "stopped")
	ctx, stop := context.WithCancel(t.Context())
	p := progress.Every(func(n int64) {
		if n == 7*16 {
			stop()
		}
	})
	if _, err := Run(ctx, c, p); !errors.Is(err, context.Canceled) {
		t.Fatalf("interrupted: %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Output, modelFile)); err == nil {
		t.Error("an interrupted run has published a model")
	}
	if _, err := Run(t.Context(), c, progress.Discard()); !errors.Is(err, jobfile.ErrConfig) {
		t.Errorf("a second run into the same folder: %v", err)
	}
	c.Resume = true
	run(t, c)
	if !slices.Equal(whole, read(t, c.Output, modelFile)) {
		t.Error("the resumed run's model is another")
	}
	c.Recipe.Seed++
	if _, err := Run(t.Context(), c, progress.Discard()); !errors.Is(err, jobfile.ErrConfig) || !strings.Contains(err.Error(), "recipe") {
		t.Errorf("resumed with another seed: %v", err)
	}
}

// TestMethodsAndStarts trains a few steps of what the configuration can ask for.
func TestMethodsAndStarts(t *testing.T) {
	base := patches(t, 60)
	base.Recipe.Steps, base.Recipe.Compliance, base.Validate.Every = 2, 1, 0
	folder := t.TempDir()
	for _, m := range []zoo.Method{zoo.Independent, zoo.CSN} { // modulation/train trains all of them
		c := base
		c.Network.Method, c.Output = m, filepath.Join(folder, string(m))
		run(t, c)
	}
	for name, change := range map[string]func(*Config){
		"resnet18": func(c *Config) {
			c.Network = Network{Start: "resnet18", Method: zoo.Modulation, Widths: []int{8, 8, 8, 8}}
		},
		"paper":           func(c *Config) { c.Network.Start = "paper" },
		"modulation only": func(c *Config) { c.Train = "modulation" },
		"statistics":      func(c *Config) { c.Network.TaskStatistics, c.Network.Sites = true, []string{"block2", "block3"} },
		"triplets": func(c *Config) {
			c.Recipe.Loss = train.Triplet
			c.Recipe.Batch = train.Batching{Rows: 6, Balance: 1}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := base
			c.Output = filepath.Join(folder, strings.ReplaceAll(name, " ", "-"))
			change(&c)
			run(t, c)
		})
	}
}

// TestFromONNX takes a trained file as a backbone and as it is: with no rate to speak of, the trained
// file's weights are those that it started from.
func TestFromONNX(t *testing.T) {
	c := patches(t, 60)
	c.Network.Method = zoo.FullyShared
	run(t, c)
	c.Network.Start, c.Network.Widths = filepath.Join(c.Output, modelFile), nil
	c.Recipe.Steps, c.Recipe.Schedule.Rate, c.Validate.Every = 1, 1e-9, 0
	folder := t.TempDir()
	for name, change := range map[string]func(*Config){
		"as it is":   func(*Config) {},
		"modulation": func(c *Config) { c.Network.Method, c.Network.Output, c.Network.Dim = zoo.Modulation, "embedding", 0 },
		"new head":   func(c *Config) { c.Network.Method, c.Network.Output, c.Network.Dim = zoo.Branches, "embedding", 4 },
	} {
		t.Run(name, func(t *testing.T) {
			c := c
			if name != "as it is" {
				c.Labels.Tasks = []string{"hue=colour", "side=half"} // tasks that the file does not know
			}
			c.Output = filepath.Join(folder, strings.ReplaceAll(name, " ", "-"))
			change(&c)
			run(t, c)
			if !shareWeights(t, c.Network.Start, filepath.Join(c.Output, modelFile)) {
				t.Error("the stem is not that of the file")
			}
		})
	}
}

// shareWeights compares the stems of two files, which come out under names of their own.
func shareWeights(t *testing.T, a, b string) bool {
	t.Helper()
	var stems [2][]float32
	for i, name := range []string{a, b} {
		m, err := onnx.Read(read(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, init := range m.GetGraph().GetInitializer() {
			if d := init.GetDims(); len(d) == 4 && d[1] == 3 {
				if stems[i], err = init.Floats(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for i, v := range stems[0] {
		if d := v - stems[1][i]; d > 1e-6 || d < -1e-6 {
			return false
		}
	}
	return len(stems[0]) > 0 && len(stems[0]) == len(stems[1])
}

func TestRefusals(t *testing.T) {
	base := patches(t, 30)
	for name, c := range map[string]struct {
		change func(*Config)
		want   error
		says   string
	}{
		"memory":     {func(c *Config) { c.Memory = 1000 }, jobfile.ErrConfig, "memory"},
		"site":       {func(c *Config) { c.Network.Sites = []string{"block9"} }, jobfile.ErrConfig, "block9"},
		"too small":  {func(c *Config) { c.Preprocess.Size = [2]int{4, 4} }, jobfile.ErrConfig, "network"},
		"no labels":  {func(c *Config) { c.Labels.Tasks = []string{"shape"} }, jobfile.ErrConfig, "shape"},
		"unreadable": {func(c *Config) { c.Gallery, c.Reject = t.TempDir(), 0.5 }, sinks.ErrRejects, "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := base
			changed.Output = filepath.Join(t.TempDir(), "run")
			c.change(&changed)
			_, err := Run(t.Context(), changed, progress.Discard())
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %v about %q", err, c.want, c.says)
			}
		})
	}
}

// TestReference reads the documented job file: every key is known, and values are the defaults.
func TestReference(t *testing.T) {
	name := filepath.Join(t.TempDir(), "train.yaml")
	write(t, name, Reference)
	c := Defaults()
	if _, err := jobfile.Load(name, &c); err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	if c.Recipe != want.Recipe || c.Validate != want.Validate || c.Checkpoint != want.Checkpoint || c.Preprocess != want.Preprocess || c.Memory != want.Memory || c.Network.Method != want.Network.Method {
		t.Errorf("the reference says %+v, the defaults are %+v", c, want)
	}
	write(t, name, Reference+"learning_rate: 3\n")
	if f, err := jobfile.Load(name, &c); err == nil || !strings.Contains(err.Error(), "learning_rate") {
		t.Errorf("an unknown key: %v (%v)", err, f)
	}
	c = Config{}
	if n := len(c.Problems()); n < 8 {
		t.Errorf("an empty configuration has only %d problems", n)
	}
}
