package labels

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// zapposKeys are images as a store lists them: one folder ends in a dot, which filenames.json writes
// as %2E, and one image is in no file.
var zapposKeys = []string{
	"Boots/Ankle/Dr. Martens/7153806.6.jpg", "Shoes/Oxfords/Bostonian/100627.72.jpg",
	"Shoes/Oxfords/L.A.M.B./100657.72.jpg", "Shoes/Oxfords/L.A.M.B./1.1.jpg",
}

func TestZappos(t *testing.T) {
	tasks := []Column{{"class", "Category"}, {"gender", "Gender"}, {"closure", "Closure"}, {"brand", "Brand"}}
	classes := []Task{
		{Name: "class", Classes: []string{"Boots", "Shoes"}, IDs: []int32{0, 1, 1, Missing}},
		{Name: "gender", Classes: []string{"Girls;Women", "Men"}, IDs: []int32{0, 1, 1, Missing}},
		{Name: "closure", Classes: []string{"Lace up", "Lace up;Slip-On", "Zipper"}, IDs: []int32{2, 0, 1, Missing}},
		{Name: "brand", Classes: []string{"Bostonian", "Dr. Martens", "L.A.M.B."}, IDs: []int32{1, 0, 2, 2}},
	}
	for name, closures := range map[string][]string{
		"meta-data.csv": {"Lace up", "Lace up;Slip-On", "Zipper"}, "meta-data-bin.csv": {"Lace.up", "Lace.up;Slip.On", "Zipper"},
	} {
		g, err := Zappos(fixture(t, name), zapposKeys, tasks)
		if err != nil {
			t.Fatal(err)
		}
		classes[2].Classes = closures
		if want := (&Gallery{Keys: zapposKeys, Tasks: classes, Dropped: 1}); !reflect.DeepEqual(g, want) {
			t.Errorf("%s: got  %+v\nwant %+v", name, g, want)
		}
	}
}

func TestZapposRefuses(t *testing.T) {
	for _, c := range []struct{ name, content, want string }{
		{"another first column", "id,Category\n", `m.csv:1: the first column is "id"`},
		{"no attribute", "CID,Gender\n", `m.csv:1: task "class": there is no attribute "Category"`},
		{"neither 0 nor 1", "CID,Category.Shoes\n1-1,1\n2-1,2\n", `m.csv:3: column "Category.Shoes" holds "2"`},
		{"other labels", "CID,Category\n100627-72,Shoes\n100627-72,Boots\n", `m.csv:3: CID "100627-72" stands above`},
	} {
		if _, err := Zappos(text("m.csv", c.content), zapposKeys, []Column{{"class", "Category"}}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// "0 2 1" is anchor, far, close: image 0 resembles image 1.
func TestTriplets(t *testing.T) {
	g, err := Zappos(fixture(t, "meta-data.csv"), zapposKeys, []Column{{"class", "Category"}})
	if err != nil {
		t.Fatal(err)
	}
	names, err := Filenames(fixture(t, "filenames.json"))
	if err != nil {
		t.Fatal(err)
	}
	for split, file := range map[Split]string{Train: "class_tripletlist_train.txt", Test: "class_tripletlist_test.txt"} {
		if err := g.Triplets(fixture(t, file), "class", split, names); err != nil {
			t.Fatal(err)
		}
	}
	want := map[Split][]Triplet{Train: {{Anchor: 1, Near: 2, Far: 0}, {Anchor: 2, Near: 1, Far: 0}}, Test: {{Anchor: 0, Near: 2, Far: 1}}}
	if got := g.Tasks[0].Triplets; !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
	if g.Dropped != 2 { // a row and a triplet of images that are not there
		t.Errorf("%d dropped, want 2", g.Dropped)
	}
	for _, c := range []struct{ content, want string }{
		{"0 1\n", "l.txt:1: 2 fields"}, {"0 1 2\n\n0 1 4\n", `l.txt:3: "4" is no number of an image, want 0 to 3`}, {"0 -1 2", "l.txt:1: "},
	} {
		if err := g.Triplets(text("l.txt", c.content), "class", Train, names); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.content, err, c.want)
		}
	}
	if err := g.Triplets(text("l.txt", ""), "heel", Train, names); err == nil {
		t.Error("a list for no task was taken")
	}
	if _, err := Filenames(text("filenames.json", `["a.jpg", "b.jpg"]`)); err == nil {
		t.Error("JSON was taken for one path a line")
	}
}

func celebaFiles(t testing.TB) CelebAFiles {
	return CelebAFiles{fixture(t, "list_attr_celeba.txt"), fixture(t, "list_eval_partition.txt"), fixture(t, "identity_CelebA.txt")}
}

func TestCelebA(t *testing.T) {
	g, err := CelebA(celebaFiles(t), []Column{{"male", "Male"}, {"person", Identity}, {"smiling", "Smiling"}})
	if err != nil {
		t.Fatal(err)
	}
	want := &Gallery{
		Keys:   []string{"000001.jpg", "000002.jpg", "000003.jpg", "000004.jpg"},
		Splits: []Split{Train, Val, Test, Nowhere},
		Tasks: []Task{
			{Name: "male", Classes: []string{"no", "yes"}, IDs: []int32{1, 0, 1, 0}},
			{Name: "person", Classes: []string{"2880", "2937"}, IDs: []int32{0, 1, 0, Missing}},
			{Name: "smiling", Classes: []string{"no", "yes"}, IDs: []int32{1, 1, 0, 0}},
		},
		Dropped: 1,
	}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("got  %+v\nwant %+v", g, want)
	}
	people, err := CelebA(CelebAFiles{Identities: fixture(t, "identity_CelebA.txt")}, same(Identity))
	if err != nil || people.Len() != 3 || people.Splits != nil {
		t.Errorf("people alone: %+v, %v", people, err)
	}
}

func TestCelebARefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		files CelebAFiles
		want  string
	}{
		{"no attributes", CelebAFiles{}, "want the file of attributes"},
		{"no count", CelebAFiles{Attributes: text("a.txt", "Male\n")}, `a.txt:1: "Male" is no number of images`},
		{"no attribute", CelebAFiles{Attributes: text("a.txt", "0\nSmiling\n")}, `a.txt:2: there is no attribute "Male"`},
		{"too few rows", CelebAFiles{Attributes: text("a.txt", "2\nMale\n1.jpg 1\n")}, "a.txt:3: the file ends after 1 images, its first line says 2"},
		{"too few fields", CelebAFiles{Attributes: text("a.txt", "1\nMale Smiling\n1.jpg 1\n")}, "a.txt:3: 2 fields"},
		{"zero", CelebAFiles{Attributes: text("a.txt", "1\nMale\n1.jpg 0\n")}, `a.txt:3: attribute "Male" is "0"`},
		{"an image twice", CelebAFiles{Attributes: text("a.txt", "2\nMale\n1.jpg 1\n1.jpg 1\n")}, `a.txt:4: image "1.jpg" is there twice`},
		{"a fourth part", CelebAFiles{Attributes: text("a.txt", "1\nMale\n1.jpg 1\n"), Partition: text("p.txt", "1.jpg 3\n")}, `p.txt:1: "3" is no part`},
		{"two parts", CelebAFiles{Attributes: text("a.txt", "1\nMale\n1.jpg 1\n"), Partition: text("p.txt", "1.jpg 1\n1.jpg 2\n")}, "p.txt:2: "},
	} {
		if _, err := CelebA(c.files, same("Male")); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	for _, c := range []struct{ content, want string }{
		{"1.jpg x\n", `i.txt:1: "x" is no number`}, {"1.jpg 1\n1.jpg 2\n", "i.txt:2: "}, {"1.jpg\n", "i.txt:1: 1 fields"},
	} {
		if _, err := CelebA(CelebAFiles{Identities: text("i.txt", c.content)}, same(Identity)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %q", c.content, err, c.want)
		}
	}
}
