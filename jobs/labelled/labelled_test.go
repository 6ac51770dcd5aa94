package labelled

import (
	"errors"
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/internal/testenv"
	"github.com/facet-search/facet/jobs/jobfile"
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
