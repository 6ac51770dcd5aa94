package compare

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/evaluate"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/labelled"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/modulation/train"
	"github.com/facet-search/facet/modulation/train/zoo"
)

// small makes a gallery of noisy 16×16 images, whose colour and brighter half are two tasks, and a job of
// a tiny network on it.
func small(t testing.TB) Config {
	t.Helper()
	testenv.ONNXRuntime(t)
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 3))
	var table strings.Builder
	table.WriteString("key,colour,half,split\n")
	for i := range 80 {
		colour, half := random.IntN(3), random.IntN(2)
		im := image.NewNRGBA(image.Rect(0, 0, 16, 16))
		for at := range 256 {
			c := [3]uint8{}
			for k := range c {
				c[k] = uint8(random.IntN(60))
				if k == colour {
					c[k] += 90
				}
				if at/128 == half {
					c[k] += 90
				}
			}
			im.SetNRGBA(at%16, at/16, color.NRGBA{c[0], c[1], c[2], 255})
		}
		var b bytes.Buffer
		if err := png.Encode(&b, im); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%d.png", i)
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		split := "train"
		if i >= 50 {
			split = "test"
		}
		fmt.Fprintf(&table, "%s,%c,%c,%s\n", name, "rgb"[colour], "ul"[half], split)
	}
	labels := filepath.Join(t.TempDir(), "labels.csv")
	if err := os.WriteFile(labels, []byte(table.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Defaults()
	c.Gallery, c.Output = dir, t.TempDir()
	c.Labels = labelled.Config{Format: "csv", Path: labels, Key: "key", Split: "split", Tasks: []string{"colour", "half"}}
	c.Preprocess.Size, c.Network.Dim, c.Network.Widths = [2]int{16, 16}, 8, []int{8, 8, 8, 8, 8}
	c.Seeds, c.Cores, c.Measure.Triplets = []uint64{1, 2}, 2, 200
	c.Recipe = train.Paper(12)
	c.Recipe.Batch.Rows, c.Recipe.Compliance, c.Recipe.Average = 12, 3, 0.5
	return c
}

func TestCompare(t *testing.T) {
	c := small(t)
	if p := c.Validate(); p != nil {
		t.Fatal(p)
	}
	r, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Methods) != len(zoo.Methods) || len(r.Runs) != 2*len(zoo.Methods) {
		t.Fatalf("%d methods, %d runs", len(r.Methods), len(r.Runs))
	}
	size := map[zoo.Method]Size{}
	for _, m := range r.Methods {
		size[m.Method] = m.Size
		if len(m.Tasks) != 2 || m.ImagesPerSecond <= 0 || m.Draws != 12*24 || math.IsNaN(float64(m.Mean.MAP.Deviation)) {
			t.Errorf("%+v", m)
		}
		if shares := m.Method != zoo.Independent; shares != (len(m.UCR) > 0) {
			t.Errorf("%s: update compliance of %d layers", m.Method, len(m.UCR))
		}
	}
	checkSizes(t, size)
	checkFiles(t, c.Output, r)
	again, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Runs, r.Runs) {
		t.Error("the second call did not keep the finished runs")
	}
}

// checkSizes compares methods: two tasks of dimension 8.
func checkSizes(t *testing.T, size map[zoo.Method]Size) {
	t.Helper()
	one := size[zoo.FullyShared]
	for m, want := range map[zoo.Method]Size{
		zoo.FullyShared:    {one.Parameters, 0, 32, one.MACs},
		zoo.Independent:    {2 * one.Parameters, one.Parameters, 64, 2 * one.MACs},
		zoo.CSN:            {one.Parameters + 16, 8, 64, one.MACs},
		zoo.ModulationLast: {one.Parameters + 16, 8, 64, one.MACs},
		zoo.Modulation:     {one.Parameters + 48, 24, 64, size[zoo.Modulation].MACs},
	} {
		if size[m] != want {
			t.Errorf("%s: %+v, want %+v", m, size[m], want)
		}
	}
	if m := size[zoo.Modulation].MACs; m <= one.MACs || m >= 2*one.MACs {
		t.Errorf("modulation takes %d multiplications, one network %d", m, one.MACs)
	}
}

func checkFiles(t *testing.T, dir string, r *Comparison) {
	t.Helper()
	for name, want := range map[string]string{
		"table.txt": "modulation-last", "table.md": "| modulation-all | mean |", "comparison.json": `"update_compliance"`,
		"csn-2/model.onnx": "facet.compare", "csn-2/result.json": `"fingerprint"`,
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %d bytes, %v; want %q in it", name, len(data), err, want)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "table.csv"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil || len(rows) != 1+3*len(r.Methods) {
		t.Errorf("table.csv has %d rows, %v", len(rows), err)
	}
	if states, _ := filepath.Glob(filepath.Join(dir, "*", "state")); states != nil {
		t.Errorf("states are left: %v", states)
	}
}

// A comparison that is stopped in the middle of its runs goes on to the same results and the same model
// files, bit for bit, as one that never was.
func TestCompareGoesOn(t *testing.T) {
	c := small(t)
	c.Methods, c.Seeds, c.Cores = []zoo.Method{zoo.FullyShared, zoo.Modulation}, []uint64{1}, 1
	whole, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	undisturbed := c.Output
	c.Output = t.TempDir()
	for _, at := range []int64{5, 17} { // in the first run, and in the second
		ctx, cancel := context.WithCancel(t.Context())
		trainingFrom := false
		_, err := Run(ctx, c, progress.Every(func(items int64) {
			trainingFrom = trainingFrom || items == 50 // the images are loaded
			if trainingFrom && items == at {
				cancel()
			}
		}))
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at step %d: error %v", at, err)
		}
		if states, _ := filepath.Glob(filepath.Join(c.Output, "*", "state")); len(states) != 1 {
			t.Fatalf("stopped at step %d: saved states %v", at, states)
		}
	}
	resumed, err := Run(t.Context(), c, progress.Discard())
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole.Runs {
		a, b := *whole.Runs[i], *resumed.Runs[i]
		a.Seconds, b.Seconds = 0, 0
		if !reflect.DeepEqual(a, b) {
			t.Errorf("resumed:\n%+v\nundisturbed:\n%+v", b, a)
		}
		name := filepath.Join(trial{a.Method, a.Seed}.String(), "model.onnx")
		want, err1 := os.ReadFile(filepath.Join(undisturbed, name))
		got, err2 := os.ReadFile(filepath.Join(c.Output, name))
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs (%v)", name, err)
		}
	}
}

// What a run depends on is in its fingerprint: another recipe makes another run.
func TestFingerprint(t *testing.T) {
	s := &stage{config: Defaults(), data: &data{dataset: train.Dataset{Digest: "d"}}, folder: folder(t.TempDir())}
	run := trial{zoo.CSN, 1}
	first, err := s.fingerprint(run)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.folder.keep(run, &Finished{Method: zoo.CSN, Seed: 1, Fingerprint: first}, nil); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.folder.finished(run, first); !ok || err != nil {
		t.Errorf("the kept run is not found: %v", err)
	}
	for name, change := range map[string]func(*stage){
		"recipe": func(s *stage) { s.config.Recipe.Margin++ }, "data": func(s *stage) { s.data = &data{dataset: train.Dataset{Digest: "e"}} },
		"size": func(s *stage) { s.config.Preprocess.Size[0]++ }, "measure": func(s *stage) { s.config.Measure.Limit++ },
	} {
		other := *s
		change(&other)
		print, err := other.fingerprint(run)
		if err != nil || print == first {
			t.Errorf("another %s has the same fingerprint (%v)", name, err)
		}
		if _, ok, err := s.folder.finished(run, print); ok || err != nil {
			t.Errorf("another %s: the run is taken for finished (%v)", name, err)
		}
	}
	if err := os.WriteFile(s.folder.path(run, "result.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.folder.finished(run, first); ok || err != nil {
		t.Errorf("a damaged result is taken for one (%v)", err)
	}
}

func TestSpread(t *testing.T) {
	s := spreadOf([]float64{0.5, 0.7, 0.6})
	if math.Abs(float64(s.Mean)-0.6) > 1e-12 || math.Abs(float64(s.Deviation)-0.1) > 1e-12 {
		t.Errorf("spread of 0.5, 0.7, 0.6 is %+v, want 0.6 ±0.1", s)
	}
	if got := s.String(); got != "0.6000 ±0.1000" {
		t.Errorf("printed as %q", got)
	}
	if got := spreadOf([]float64{0.5}).String(); got != "0.5000" {
		t.Errorf("one seed is printed as %q", got)
	}
}

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
	want.Gallery, want.Labels = got.Gallery, got.Labels
	want.Network.Widths, want.Network.Sites = got.Network.Widths, got.Network.Sites // empty, and not nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the reference says\n%+v\nthe defaults are\n%+v", got, want)
	}
	sound := func() Config {
		c := Defaults()
		c.Gallery, c.Labels = "g", labelled.Config{Format: "csv", Path: "p", Key: "k", Tasks: []string{"a", "b"}}
		return c
	}
	for field, change := range map[string]func(*Config){
		"gallery": func(c *Config) { c.Gallery = "" }, "output": func(c *Config) { c.Output = "" }, "methods": func(c *Config) { c.Methods = append(c.Methods, zoo.CSN) },
		"seeds": func(c *Config) { c.Seeds = []uint64{1, 1} }, "recipe": func(c *Config) { c.Recipe.Steps = 0 }, "network.method": func(c *Config) { c.Network.Method = zoo.CSN },
		"preprocess": func(c *Config) { c.Preprocess.Filter = "" }, "cores": func(c *Config) { c.Cores = 0 }, "reject": func(c *Config) { c.Reject = -1 },
		"labels.path": func(c *Config) { c.Labels.Path = "" }, "measure.queries": func(c *Config) { c.Measure = evaluate.Measure{Against: "all"} },
	} {
		c := sound()
		if p := c.Validate(); p != nil {
			t.Fatalf("a sound configuration: %v", p)
		}
		change(&c)
		if p := c.Validate(); len(p) != 1 || p[0].Field != field {
			t.Errorf("%s: problems %v", field, p)
		}
	}
	c := small(t)
	c.Labels.Split = ""
	if _, err := Run(t.Context(), c, progress.Discard()); !errors.Is(err, jobfile.ErrConfig) {
		t.Errorf("without splits: error %v", err)
	}
}
