package gallery

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
)

// FuzzManifest gives arbitrary bytes to whatever reader they seem to be for. No bytes may make it
// panic, or yield a ref that leaves the gallery.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		"key,x\na,1\n", "\ufeffkey\r\n\"a\nb\"\r\n", packed("key\na\n"), "key\n\"", "\xff\xfe", "",
		inventoryOf("CSV", inventorySchema, dataFile("d", "x")), inventoryOf("ORC", ""), `{"files": null}`,
		parquetOf(f, 10, `[{"key": "a", "x": 1}]`, field("key", utf8Type), field("x", arrow.PrimitiveTypes.Int8)),
	} {
		f.Add(seed, "\"shop\",\"a\",\"\",\"true\",\"false\",\"5\",\"\",\"\",\"\"\n")
	}
	f.Fuzz(func(t *testing.T, manifest, data string) {
		store := objects{"list": manifest, "d": data}
		s, err := Manifest(t.Context(), store, "list", Spec{Prefix: "s3://shop/"})
		if err != nil {
			return
		}
		defer s.Close()
		for {
			r, err := s.Next(t.Context())
			if err != nil {
				return
			}
			if r.Key == "" || strings.HasPrefix(r.Key, "../") || len(r.Attributes) != len(s.Attributes()) {
				t.Errorf("%+v", r)
			}
			for _, a := range r.Attributes {
				if !utf8.ValidString(a) {
					t.Errorf("attribute %q", a)
				}
			}
		}
	})
}

// FuzzInventoryRow gives arbitrary data to a sound inventory.
func FuzzInventoryRow(f *testing.F) {
	f.Add("\"shop\",\"images/a%20b\",\"v\",\"true\",\"false\",\"5\",\"2026\",\"e\",\"STANDARD\"\n")
	f.Add("a,%zz,,,,-1,,,\n")
	f.Fuzz(func(t *testing.T, data string) {
		store := objects{"m": inventoryOf("CSV", inventorySchema, dataFile("d", data)), "d": data}
		s, err := Manifest(t.Context(), store, "m", Spec{Prefix: "s3://shop/images/"})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for {
			r, err := s.Next(t.Context())
			if err != nil {
				return
			}
			if r.Key == "" || r.Size < -1 {
				t.Errorf("%+v", r)
			}
		}
	})
}
