package labelled

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/gif"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/progress"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages/labels"
)

func fixture(t testing.TB, name string) string {
	return filepath.Join(testenv.Root(t), "stages/labels/testdata", name)
}

// images is a store of empty images.
func images(t testing.TB, keys ...string) store.Store {
	t.Helper()
	s, err := store.OpenMem(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if _, err := s.Put(t.Context(), k, strings.NewReader(""), 0, store.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestOpen(t *testing.T) {
	shoes := images(t, "Boots/Ankle/Dr. Martens/7153806.6.jpg", "Shoes/Oxfords/Bostonian/100627.72.jpg", "Shoes/Oxfords/L.A.M.B./100657.72.jpg", "readme.txt")
	for name, c := range map[string]struct {
		config Config
		images int
		counts map[string]int // labelled images
	}{
		"csv": {Config{Format: "csv", Path: fixture(t, "styles.csv"), Key: "{id}.jpg", Tasks: []string{"articleType", "use=usage"},
			Missing: []string{"NA"}, Split: "split"}, 4, map[string]int{"articleType": 4, "use": 2}},
		"zappos": {Config{Format: "zappos", Path: fixture(t, "meta-data.csv"), Tasks: []string{"class=Category", "Brand"},
			Triplets: fixture(t, "")}, 3, map[string]int{"class": 3, "Brand": 3}},
		"celeba": {Config{Format: "celeba", Path: fixture(t, "list_attr_celeba.txt"), Partition: fixture(t, "list_eval_partition.txt"),
			Identities: fixture(t, "identity_CelebA.txt"), Tasks: []string{"Male", "who=identity"}}, 4, map[string]int{"Male": 4, "who": 3}},
	} {
		if p := c.config.Validate("labels"); p != nil {
			t.Errorf("%s: %v", name, p)
		}
		g, err := Open(t.Context(), c.config, shoes)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		counts := map[string]int{}
		for _, task := range g.Tasks {
			counts[task.Name] = task.Labelled()
		}
		if g.Len() != c.images || !maps.Equal(counts, c.counts) {
			t.Errorf("%s: %d images, labelled %v; want %d, %v", name, g.Len(), counts, c.images, c.counts)
		}
		if name == "zappos" && len(g.Tasks[0].Triplets[labels.Train]) != 2 {
			t.Errorf("%s: triplets %v", name, g.Tasks[0].Triplets)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	empty := Config{Format: "csv", Path: fixture(t, "class_tripletlist_test.txt"), Key: "2 0 1", Tasks: []string{"2 0 1"}}
	for name, c := range map[string]Config{
		"no file":     {Format: "csv", Path: "absent.csv", Key: "id", Tasks: []string{"a"}},
		"no rows":     empty,
		"no triplets": {Format: "csv", Path: fixture(t, "styles.csv"), Key: "id", Tasks: []string{"usage"}, Triplets: fixture(t, "")},
	} {
		if _, err := Open(t.Context(), c, images(t)); !errors.Is(err, jobfile.ErrConfig) {
			t.Errorf("%s: error %v, want a configuration error", name, err)
		}
	}
	for name, c := range map[string]Config{
		"format": {Format: "json", Path: "p", Tasks: []string{"a"}}, "path": {Format: "csv", Tasks: []string{"a"}},
		"tasks": {Format: "csv", Path: "p"}, "group": {Format: "csv", Path: "p", Tasks: []string{"a"}, Split: "s", Group: Group{Column: "c"}},
	} {
		if p := c.Validate("labels"); len(p) != 1 || p[0].Field != "labels."+name {
			t.Errorf("%s: problems %v", name, p)
		}
	}
}

// The fashion gallery has 36,485 rows, no duplicates, and 259 rows without a use or a colour.
func TestFashion(t *testing.T) {
	c := Config{Format: "csv", Path: testenv.Shared(t, "gallery/fashion/styles.csv"), Key: "{id}.jpg", Split: "split", Missing: []string{"NA"},
		Tasks: []string{"articleType", "baseColour", "gender", "usage"}}
	g, err := Open(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if train, val, test := len(g.In(labels.Train)), len(g.In(labels.Val)), len(g.In(labels.Test)); train != 27947 || val != 3024 || test != 5514 {
		t.Errorf("%d train, %d val, %d test", train, val, test)
	}
	colour, _ := g.Task("baseColour")
	usage, _ := g.Task("usage")
	if colour.Labelled() != 36485-11 || usage.Labelled() != 36485-249 || g.Dropped != 0 {
		t.Errorf("%d colours, %d uses, %d dropped", colour.Labelled(), usage.Labelled(), g.Dropped)
	}
}

// Three GIFs of one colour each and one broken file: pixels in the keys' order, without the broken one.
func TestLoad(t *testing.T) {
	s, err := store.OpenMem(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"red.gif", "broken.gif", "green.gif", "blue.gif"}
	colours := map[string]color.RGBA{"red.gif": {R: 255, A: 255}, "green.gif": {G: 255, A: 255}, "blue.gif": {B: 255, A: 255}}
	for _, k := range keys {
		data := []byte("no image")
		if c, ok := colours[k]; ok {
			var b bytes.Buffer
			im := image.NewPaletted(image.Rect(0, 0, 4, 4), color.Palette{c})
			if err := gif.Encode(&b, im, nil); err != nil {
				t.Fatal(err)
			}
			data = b.Bytes()
		}
		if _, err := s.Put(t.Context(), k, bytes.NewReader(data), int64(len(data)), store.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	l := Loader{Images: s, Cores: 2, Reject: 0.25, Preprocess: pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{1, 1}, Filter: "bilinear", Std: [3]float64{1, 1, 1}, Scale: 1, Channels: "rgb", Orientation: "ignore"}}
	pixels, read, err := l.Load(t.Context(), keys, progress.Discard())
	if err != nil || !bytes.Equal(pixels, []byte{255, 0, 0, 0, 255, 0, 0, 0, 255}) || !slices.Equal(read, []int{0, 2, 3}) {
		t.Errorf("pixels %v of images %v, %v", pixels, read, err)
	}
	l.Reject = 0.24
	if _, _, err := l.Load(t.Context(), keys, progress.Discard()); !errors.Is(err, sinks.ErrRejects) {
		t.Errorf("one of four may not be rejected: error %v", err)
	}
}
