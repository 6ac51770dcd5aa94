package labels

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// fixture is a made-up file in the format of the real one.
func fixture(t testing.TB, name string) Text {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text(name, string(data))
}

func text(name, content string) Text { return Text{Name: name, Reader: strings.NewReader(content)} }

// same are tasks named as their columns.
func same(names ...string) (c []Column) {
	for _, n := range names {
		c = append(c, Column{Task: n, Name: n})
	}
	return c
}

func fashion() CSVSpec {
	return CSVSpec{
		Key: "{id}.jpg", Tasks: []Column{{"type", "articleType"}, {"colour", "base, colour"}, {"usage", "usage"}},
		Missing: []string{"NA"}, Split: "split",
	}
}

// A mark before the first byte, carriage returns, quoted commas, quotation marks and line ends, a row
// twice, both kinds of missing label and an image that is in no split.
func TestCSV(t *testing.T) {
	g, err := CSV(fixture(t, "styles.csv"), fashion())
	if err != nil {
		t.Fatal(err)
	}
	want := &Gallery{
		Keys:   []string{"1163.jpg", "1164.jpg", "1165.jpg", "1166.jpg"},
		Splits: []Split{Train, Val, Test, Nowhere},
		Tasks: []Task{
			{Name: "type", Classes: []string{"Caps", "Tee \"X\"", "Tshirts"}, IDs: []int32{2, 1, 2, 0}},
			{Name: "colour", Classes: []string{"Blue", "Navy\nBlue", "Red"}, IDs: []int32{0, Missing, 1, 2}},
			{Name: "usage", Classes: []string{"Casual", "Sports"}, IDs: []int32{1, Missing, 0, Missing}},
		},
		Dropped: 1,
	}
	if !reflect.DeepEqual(g, want) {
		t.Errorf("got  %+v\nwant %+v", g, want)
	}
	if n := g.Tasks[2].Labelled(); n != 2 {
		t.Errorf("%d images have a usage, want 2", n)
	}
}

func TestCSVRefuses(t *testing.T) {
	const head = "id,articleType,\"base, colour\",usage,split\n"
	for _, c := range []struct{ name, content, want string }{
		{"nothing", "", "f.csv:1: it is empty"},
		{"no column", "id,x\n1,2\n", `f.csv:1: there is no column "articleType"`},
		{"a column twice", "id,id\n", `f.csv:1: two columns are named "id"`},
		{"too few fields", head + "1,a,b,c,train\n2,a\n", "f.csv:3: wrong number of fields"},
		{"an open quotation mark", head + "1,\"a,b,c,train\n2,a,b,c,train\n", "f.csv:2: "},
		{"an endless row", head + "1,\"" + strings.Repeat("x\n", maxLine), "not closed?"},
		{"no key", head + "1,a,b,c,train\n,a,b,c,train\n", "f.csv:3: the key is empty"},
		{"other labels", head + "1,a,b,c,train\n2,a,b,c,train\n1,z,b,c,train\n", `f.csv:4: key "1.jpg" stands on line 2 already`},
		{"another split", head + "1,a,b,c,train\n1,a,b,c,test\n", "f.csv:3: key"},
		{"a new split", head + "1,a,b,c,training\n", `f.csv:2: "training" is no split`},
		{"Latin-1", head + "1,caf\xe9,b,c,train\n", `f.csv:2: task "type": the label "caf\xe9" is not UTF-8`},
		{"UTF-16", "\xff\xfei\x00", "f.csv: it is UTF-16"},
	} {
		if _, err := CSV(text("f.csv", c.content), fashion()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	both := fashion()
	both.Group.Column = "id"
	tooMuch := CSVSpec{Key: "k", Tasks: same("a"), Group: Grouping{"k", 0.6, 0.6}}
	for name, spec := range map[string]CSVSpec{"split twice": both, "shares": tooMuch, "no task": {Key: "k"}, "a task twice": {Key: "k", Tasks: same("a", "a")}} {
		if _, err := CSV(text("f.csv", "k,a,id,split\n1,2,3,\n"), spec); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// What shares a value is on one side, and the shares come out roughly as asked for.
func TestGrouping(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("key,c,name\n")
	for i := range 3000 {
		fmt.Fprintf(&rows, "%d,c,%d\n", i, i/3)
	}
	g, err := CSV(text("f.csv", rows.String()), CSVSpec{Key: "key", Tasks: same("c"), Group: Grouping{"name", 0.1, 0.2}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range g.Keys {
		if g.Splits[i] != g.Splits[i/3*3] {
			t.Fatalf("images %d and %d are of one group, but in %s and %s", i/3*3, i, g.Splits[i/3*3], g.Splits[i])
		}
	}
	if n := len(g.In(Test)); n < 500 || n > 700 {
		t.Errorf("%d of 3000 images are for test, want about 600", n)
	}
	if n := len(g.In(Val)); n < 220 || n > 380 {
		t.Errorf("%d of 3000 images are for validation, want about 300", n)
	}
}

func TestSelect(t *testing.T) {
	g, err := CSV(fixture(t, "styles.csv"), fashion())
	if err != nil {
		t.Fatal(err)
	}
	g.Tasks[0].Triplets = map[Split][]Triplet{Train: {{0, 2, 3}, {0, 2, 1}}}
	s := g.Select([]int{3, 0, 2})
	if want := []string{"1166.jpg", "1163.jpg", "1165.jpg"}; !slices.Equal(s.Keys, want) {
		t.Errorf("keys %q, want %q", s.Keys, want)
	}
	if want := []int32{0, 2, 2}; !slices.Equal(s.Tasks[0].IDs, want) {
		t.Errorf("ids %v, want %v", s.Tasks[0].IDs, want)
	}
	if want := []Triplet{{1, 2, 0}}; !slices.Equal(s.Tasks[0].Triplets[Train], want) || s.Dropped != 2 {
		t.Errorf("triplets %v, %d dropped; want %v and 2", s.Tasks[0].Triplets[Train], s.Dropped, want)
	}
	if got := s.In(Test); !slices.Equal(got, []int{2}) {
		t.Errorf("test rows %v, want [2]", got)
	}
	if rows := s.Rows(); rows["1163.jpg"] != 1 || len(rows) != 3 {
		t.Errorf("rows %v", rows)
	}
}
