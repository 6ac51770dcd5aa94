package gallery

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/facet-search/facet/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// objects is a store of a few objects. A stage may import no sink, so the real stores' own suite
// proves that they keep the same promises.
type objects map[string]string

func (o objects) Open(_ context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	data, ok := o[key]
	if !ok {
		return nil, pipeline.Ref{}, fs.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(data)), pipeline.Ref{Key: key, Size: int64(len(data))}, nil
}

// refs lists refs, then fails if err is not nil.
type refs struct {
	list []pipeline.Ref
	err  error
}

func (r refs) List(context.Context, string) iter.Seq2[pipeline.Ref, error] {
	return func(yield func(pipeline.Ref, error) bool) {
		for _, v := range r.list {
			if !yield(v, nil) {
				return
			}
		}
		if r.err != nil {
			yield(pipeline.Ref{}, r.err)
		}
	}
}

// all drains a source and closes it.
func all(t testing.TB, s Source) ([]pipeline.Ref, error) {
	t.Helper()
	defer s.Close()
	var got []pipeline.Ref
	for {
		r, err := s.Next(t.Context())
		if err == io.EOF { //nolint:errorlint // as the pipeline looks at it
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, r)
	}
}

func keys(list []pipeline.Ref) []string {
	k := []string{}
	for _, r := range list {
		k = append(k, r.Key)
	}
	return k
}

func TestPrefix(t *testing.T) {
	listed := []pipeline.Ref{
		{Key: "a.jpg", Size: 5, ETag: "e"}, {Key: "dir/", Size: 0}, {Key: "dir/b.jpg", Size: 5},
		{Key: "dir/c.png", Size: 0}, {Key: "dir/notes.txt", Size: 5}, {Key: "full/", Size: 3},
	}
	for _, c := range []struct {
		include, exclude, want []string
		skipped                int64
	}{
		{nil, nil, []string{"a.jpg", "dir/b.jpg", "dir/c.png", "dir/notes.txt", "full/"}, 1},
		{[]string{"*.jpg"}, nil, []string{"a.jpg", "dir/b.jpg"}, 4},
		{nil, []string{"*.txt", "full/"}, []string{"a.jpg", "dir/b.jpg", "dir/c.png"}, 3},
		{[]string{"dir/*"}, []string{"*.txt"}, []string{"dir/b.jpg", "dir/c.png"}, 4},
	} {
		s, err := Prefix(t.Context(), refs{list: listed}, c.include, c.exclude)
		if err != nil {
			t.Fatal(err)
		}
		got, err := all(t, s)
		if !slices.Equal(keys(got), c.want) || err != nil || s.Skipped() != c.skipped || s.Attributes() != nil {
			t.Errorf("include %q, exclude %q: %q with %d skipped, %v; want %q with %d", c.include, c.exclude, keys(got), s.Skipped(), err, c.want, c.skipped)
		}
	}
	if _, err := Prefix(t.Context(), refs{}, []string{"[a"}, nil); err == nil {
		t.Error("a broken pattern was taken")
	}
}

// A connection that ends is not the end of the listing.
func TestPrefixTellsFailureFromEnd(t *testing.T) {
	for _, failure := range []error{io.EOF, fmt.Errorf("list: %w", io.EOF), errors.New("boom")} {
		s, err := Prefix(t.Context(), refs{[]pipeline.Ref{{Key: "a"}}, failure}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := all(t, s); err == nil || errors.Is(err, io.EOF) || len(got) != 1 {
			t.Errorf("%v: %d refs, %v", failure, len(got), err)
		}
	}
}

func packed(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(s))
	w.Close()
	return b.String()
}

func ref(key string, attributes ...string) pipeline.Ref {
	if attributes == nil {
		attributes = []string{}
	}
	return pipeline.Ref{Key: key, Size: -1, Attributes: attributes}
}

func TestCSV(t *testing.T) {
	at := Spec{Prefix: "s3://b/images"}
	cases := map[string]struct {
		data       string
		spec       Spec
		attributes []string
		want       []pipeline.Ref
	}{
		"keys alone":      {"key\na.jpg\nb/c.jpg\n", at, nil, []pipeline.Ref{ref("a.jpg"), ref("b/c.jpg")}},
		"no last line":    {"key\na", at, nil, []pipeline.Ref{ref("a")}},
		"no rows":         {"key\n", at, nil, nil},
		"other columns":   {"colour,key,kind\nred,a,shoe\n,b,\n", at, []string{"colour", "kind"}, []pipeline.Ref{ref("a", "red", "shoe"), ref("b", "", "")}},
		"some columns":    {"colour,path,kind\nred,a,shoe\n", Spec{Key: "path", Attributes: []string{"kind"}}, []string{"kind"}, []pipeline.Ref{ref("a", "shoe")}},
		"no columns":      {"colour,key\nred,a\n", Spec{Attributes: []string{}}, []string{}, []pipeline.Ref{ref("a")}},
		"quotes":          {"key,text\n\"a,b\",\"say \"\"x\"\"\nover lines\"\n", at, []string{"text"}, []pipeline.Ref{ref("a,b", "say \"x\"\nover lines")}},
		"byte-order mark": {"\ufeffkey\na\n", at, nil, []pipeline.Ref{ref("a")}},
		"CRLF":            {"key,x\r\na,1\r\nb,2\r\n", at, []string{"x"}, []pipeline.Ref{ref("a", "1"), ref("b", "2")}},
		"gzip":            {packed("\ufeffkey\r\na\r\n"), at, nil, []pipeline.Ref{ref("a")}},
		"full addresses":  {"key\ns3://b/images/a\ns3://b/images/x/y\nplain\n", at, nil, []pipeline.Ref{ref("a"), ref("x/y"), ref("plain")}},
		"opaque keys":     {"key\n a b\t\n\xff\xfe\n%2F\n./a://b\n", at, nil, []pipeline.Ref{ref(" a b\t"), ref("\xff\xfe"), ref("%2F"), ref("./a://b")}},
		"a key twice":     {"key\na\na\n", at, nil, []pipeline.Ref{ref("a"), ref("a")}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { checkManifest(t, c.data, c.spec, c.attributes, c.want) })
	}
}

func checkManifest(t *testing.T, data string, spec Spec, attributes []string, want []pipeline.Ref) {
	t.Helper()
	s, err := Manifest(t.Context(), objects{"list": data}, "list", spec)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Attributes(), attributes) {
		t.Errorf("attributes %q, want %q", s.Attributes(), attributes)
	}
	got, err := all(t, s)
	if err != nil || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// Every failure names the file, most the line, and none is taken for the end.
func TestManifestRefuses(t *testing.T) {
	at := Spec{Prefix: "s3://b/images/"}
	for name, c := range map[string]struct {
		data string
		spec Spec
		says string
	}{
		"nothing":                {"", at, "empty"},
		"an empty gzip":          {packed(""), at, "header"},
		"no such column":         {"path,x\na,1\n", at, `no column "key"; there are ["path" "x"]`},
		"no such attribute":      {"key\na\n", Spec{Attributes: []string{"colour"}}, `"colour"`},
		"a column twice":         {"key,key\na,b\n", at, "several"},
		"UTF-16":                 {"\xff\xfek\x00e\x00y\x00", at, "UTF-8"},
		"a short row":            {"key,x\na,1\nb\n", at, "line 3"},
		"a long row":             {"key,x\na,1\nb,2,3\n", at, "line 3"},
		"a quote in the middle":  {"key\na\nb\"c\n", at, "line 3"},
		"a quote never closed":   {"key\na\n\"b\nc\n", at, "line 3"},
		"an empty key":           {"key,x\na,1\n,2\n", at, "line 3"},
		"an address elsewhere":   {"key\na\ns3://b/other/a\n", at, "line 3"},
		"an address in the way":  {"key\ns3://b/imagesandmore/a\n", at, "line 2"},
		"the prefix itself":      {"key\ns3://b/images/\n", at, "line 2"},
		"an address, no prefix":  {"key\ns3://b/images/a\n", Spec{}, "line 2"},
		"a way out":              {"key\na/../../b\n", at, "line 2"},
		"text that is no UTF-8":  {"key,x\na,\xff\n", at, "line 2"},
		"a broken gzip":          {packed("key\n" + strings.Repeat("abc\n", 1000))[:40], at, "unexpected EOF"},
		"some JSON":              {`{"a": 1}`, at, "S3 Inventory"},
		"broken JSON":            {`{"fileFormat": "CS`, at, "JSON"},
		"Parquet's first bytes":  {"PAR1", at, "arquet"},
		"Parquet of other bytes": {"PAR1" + strings.Repeat("x", 100) + "PAR1", at, "arquet"},
		"an endless row":         {"key\na\n\"" + strings.Repeat("x", maxRecord+1<<20), at, "quotation mark"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Manifest(t.Context(), objects{"list.csv": c.data}, "list.csv", c.spec)
			if err == nil {
				_, err = all(t, s)
			}
			if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "list.csv") {
				t.Errorf("%v; want it to name list.csv and to say %s", err, c.says)
			}
		})
	}
	if _, err := Manifest(t.Context(), objects{}, "none", Spec{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no manifest: %v", err)
	}
}

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// breaking breaks off the first bodies.
type breaking struct {
	objects
	left *int
}

func (b breaking) Open(ctx context.Context, key string) (io.ReadCloser, pipeline.Ref, error) {
	body, ref, err := b.objects.Open(ctx, key)
	if *b.left--; err == nil && *b.left >= 0 {
		body = io.NopCloser(io.LimitReader(body, ref.Size/2))
	}
	return body, ref, err
}

func TestManifestIsReadAgain(t *testing.T) {
	for left, fine := range map[int]bool{0: true, 2: true, 100: false} {
		s, err := Manifest(t.Context(), breaking{objects{"list": "key\na\nb\n"}, &left}, "list", Spec{})
		if (err == nil) != fine {
			t.Fatal(err)
		}
		if err != nil {
			continue
		}
		if got, err := all(t, s); len(got) != 2 || err != nil {
			t.Errorf("%d rows, %v", len(got), err)
		}
	}
}

func inventoryOf(format, schema string, files ...string) string {
	return fmt.Sprintf(`{"sourceBucket": "shop", "destinationBucket": "arn:aws:s3:::lists", "version": "2016-11-30",
		"creationTimestamp": "1514944800000", "fileFormat": %q, "fileSchema": %q, "files": [%s]}`, format, schema, strings.Join(files, ","))
}

func dataFile(key, data string) string {
	return fmt.Sprintf(`{"key": %q, "size": %d, "MD5checksum": %q}`, key, len(data), md5Of(data))
}

const inventorySchema = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"

func TestInventory(t *testing.T) {
	one := packed(`"shop","images/a.jpg","v1","true","false","5","2026-01-01T00:00:00.000Z","e1","STANDARD"
"shop","images/a.jpg","v0","false","false","4","2025-01-01T00:00:00.000Z","e0","STANDARD"
"shop","images/gone.jpg","v2","true","true","","2026-01-01T00:00:00.000Z","",""
"shop","images/dir/","","true","false","0","2026-01-01T00:00:00.000Z","e2","STANDARD"
"shop","other/b.jpg","","true","false","7","2026-01-01T00:00:00.000Z","e3","STANDARD"
`)
	two := `"shop","images/with+space%2Band%2Fmore%C3%A9.jpg","","true","false","9","2026-01-01T00:00:00.000Z","e4-2","GLACIER"` + "\n"
	manifest := inventoryOf("CSV", inventorySchema, dataFile("inv/data/1.csv.gz", one), dataFile("inv/data/2.csv", two))
	want := []pipeline.Ref{{Key: "a.jpg", ETag: "e1", Size: 5}, {Key: "with space+and/moreé.jpg", ETag: "e4-2", Size: 9}}
	for name, store := range map[string]objects{
		"the whole bucket": {"inv/2026-01-01T00-00Z/manifest.json": manifest, "inv/data/1.csv.gz": one, "inv/data/2.csv": two},
		"moved":            {"x/y/manifest.json": manifest, "x/data/1.csv.gz": one, "x/data/2.csv": two},
	} {
		for key := range store {
			if !strings.HasSuffix(key, "manifest.json") {
				continue
			}
			s, err := Manifest(t.Context(), store, key, Spec{Prefix: "s3://shop/images/"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := all(t, s)
			if !reflect.DeepEqual(got, want) || err != nil || s.Skipped() != 4 || s.Attributes() != nil {
				t.Errorf("%s: got %+v with %d skipped, %v; want %+v with 4", name, got, s.Skipped(), err, want)
			}
		}
	}
}

func TestInventoryAttributes(t *testing.T) {
	data := "a.jpg,STANDARD\n"
	store := objects{"m": inventoryOf("CSV", "Key, StorageClass", dataFile("d", data)), "d": data}
	s, err := Manifest(t.Context(), store, "m", Spec{Prefix: "s3://shop", Attributes: []string{"StorageClass"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := all(t, s)
	if want := []pipeline.Ref{ref("a.jpg", "STANDARD")}; !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestInventoryRefuses(t *testing.T) {
	good := "a.jpg,5\n"
	at := Spec{Prefix: "s3://shop/"}
	for name, c := range map[string]struct {
		manifest string
		data     string
		spec     Spec
		says     string
	}{
		"ORC":                {inventoryOf("ORC", "Key"), "", at, "Parquet or CSV"},
		"no key":             {inventoryOf("CSV", "Bucket, Size"), "", at, `"key"`},
		"another bucket":     {inventoryOf("CSV", "Key"), "", Spec{Prefix: "s3://other/"}, "s3://shop/"},
		"a folder":           {inventoryOf("CSV", "Key"), "", Spec{Prefix: "file:///shop/"}, "s3://shop/"},
		"no such attribute":  {inventoryOf("CSV", "Key, Size"), "", Spec{Prefix: "s3://shop/", Attributes: []string{"ETag"}}, "ETag"},
		"a missing file":     {inventoryOf("CSV", "Key, Size", dataFile("elsewhere", good)), good, at, "elsewhere"},
		"another checksum":   {inventoryOf("CSV", "Key, Size", dataFile("d", "other")), good, at, "MD5"},
		"a short row":        {inventoryOf("CSV", "Key, Size", dataFile("d", "a.jpg,5\nb.jpg\n")), "a.jpg,5\nb.jpg\n", at, "line 2"},
		"a size of letters":  {inventoryOf("CSV", "Key, Size", dataFile("d", "a.jpg,x\n")), "a.jpg,x\n", at, "line 1"},
		"a negative size":    {inventoryOf("CSV", "Key, Size", dataFile("d", "a.jpg,-1\n")), "a.jpg,-1\n", at, "line 1"},
		"a bad escape":       {inventoryOf("CSV", "Key, Size", dataFile("d", "a%zz.jpg,1\n")), "a%zz.jpg,1\n", at, "line 1"},
		"a file of one cut":  {inventoryOf("CSV", "Key, Size", dataFile("d", packed(good)[:15])), packed(good)[:15], at, "unexpected EOF"},
		"a Parquet of bytes": {inventoryOf("Parquet", "", dataFile("d", "PAR1xxxx")), "PAR1xxxx", at, "arquet"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Manifest(t.Context(), objects{"manifest.json": c.manifest, "d": c.data}, "manifest.json", c.spec)
			if err == nil {
				_, err = all(t, s)
			}
			if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "manifest.json") {
				t.Errorf("%v; want it to name manifest.json and to say %s", err, c.says)
			}
		})
	}
}
