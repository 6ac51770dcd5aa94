package labels

import (
	"os"
	"path/filepath"
	"testing"
)

// content is a fixture's text, as a seed.
func content(f *testing.F, name string) string {
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		f.Fatal(err)
	}
	return string(data)
}

// sound checks what every gallery promises.
func sound(t *testing.T, g *Gallery) {
	t.Helper()
	if len(g.Rows()) != g.Len() || g.Splits != nil && len(g.Splits) != g.Len() {
		t.Errorf("%d keys, %d of them different, %d splits", g.Len(), len(g.Rows()), len(g.Splits))
	}
	for _, task := range g.Tasks {
		if len(task.IDs) != g.Len() {
			t.Errorf("task %q: %d labels for %d images", task.Name, len(task.IDs), g.Len())
		}
		for _, id := range task.IDs {
			if id < Missing || int(id) >= len(task.Classes) {
				t.Errorf("task %q: class %d of %d", task.Name, id, len(task.Classes))
			}
		}
		for _, list := range task.Triplets {
			for _, l := range list {
				if min(l.Anchor, l.Near, l.Far) < 0 || int(max(l.Anchor, l.Near, l.Far)) >= g.Len() {
					t.Errorf("task %q: triplet %v of %d images", task.Name, l, g.Len())
				}
			}
		}
	}
}

func FuzzCSV(f *testing.F) {
	f.Add(content(f, "styles.csv"))
	f.Add("id,articleType,\"base, colour\",usage,split\n1,\"")
	f.Fuzz(func(t *testing.T, content string) {
		if g, err := CSV(text("f", content), fashion()); err == nil {
			sound(t, g)
		}
	})
}

func FuzzZappos(f *testing.F) {
	f.Add(content(f, "meta-data.csv"))
	f.Add(content(f, "meta-data-bin.csv"))
	f.Fuzz(func(t *testing.T, content string) {
		if g, err := Zappos(text("f", content), zapposKeys, []Column{{"class", "Category"}, {"brand", "Brand"}}); err == nil {
			sound(t, g)
		}
	})
}

func FuzzTriplets(f *testing.F) {
	f.Add("a/b%2E/1.jpg\nx.jpg\n", "0 1 1\n")
	f.Add(zapposKeys[2], "0 0 0\r\n")
	f.Fuzz(func(t *testing.T, names, list string) {
		g := &Gallery{Keys: zapposKeys, Tasks: []Task{{Name: "class", IDs: make([]int32, len(zapposKeys)), Classes: []string{"c"}}}}
		files, err := Filenames(text("names", names))
		if err == nil && g.Triplets(text("f", list), "class", Train, files) == nil {
			sound(t, g)
		}
	})
}

func FuzzCelebA(f *testing.F) {
	f.Add(content(f, "list_attr_celeba.txt"), content(f, "list_eval_partition.txt"), content(f, "identity_CelebA.txt"))
	f.Fuzz(func(t *testing.T, attributes, partition, identities string) {
		files := CelebAFiles{text("a", attributes), text("p", partition), text("i", identities)}
		if g, err := CelebA(files, same("Male", Identity)); err == nil {
			sound(t, g)
		}
	})
}
