package gallery

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/facet-search/facet/pipeline"
)

// parquetOf writes rows, given as JSON, into row groups of some rows each.
func parquetOf(t testing.TB, group int64, rows string, fields ...arrow.Field) string {
	t.Helper()
	schema := arrow.NewSchema(fields, nil)
	record, _, err := array.RecordFromJSON(memory.DefaultAllocator, schema, strings.NewReader(rows))
	if err != nil {
		t.Fatal(err)
	}
	defer record.Release()
	var b bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &b,
		parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(group), parquet.WithCompression(compress.Codecs.Zstd)),
		pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteBuffered(record); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func field(name string, t arrow.DataType) arrow.Field {
	return arrow.Field{Name: name, Type: t, Nullable: true}
}

var (
	utf8Type = arrow.BinaryTypes.String
	dictType = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: utf8Type}
)

func TestParquet(t *testing.T) {
	mixed := parquetOf(t, 2, `[
		{"n": 1, "nested": ["x"], "key": "a", "kind": "shoe", "f": 0.5, "b": true, "bin": "AP8="},
		{"n": 2, "nested": ["x"], "key": "b", "kind": null, "f": null, "b": false, "bin": "eA=="},
		{"n": 3, "nested": null, "key": "s3://b/images/c", "kind": "shoe", "f": 2, "b": null, "bin": null}]`,
		field("n", arrow.PrimitiveTypes.Int64), field("nested", arrow.ListOf(utf8Type)), field("key", utf8Type),
		field("kind", dictType), field("f", arrow.PrimitiveTypes.Float64), field("b", arrow.FixedWidthTypes.Boolean),
		field("bin", arrow.BinaryTypes.Binary))
	at := Spec{Prefix: "s3://b/images/"}
	some := Spec{Prefix: at.Prefix, Attributes: []string{"kind", "n"}}
	t.Run("some columns", func(t *testing.T) {
		checkManifest(t, mixed, some, some.Attributes, []pipeline.Ref{ref("a", "shoe", "1"), ref("b", "", "2"), ref("c", "shoe", "3")})
	})
	t.Run("types", func(t *testing.T) {
		spec := Spec{Prefix: at.Prefix, Attributes: []string{"f", "b", "key"}}
		checkManifest(t, mixed, spec, spec.Attributes, []pipeline.Ref{ref("a", "0.5", "true", "a"), ref("b", "", "false", "b"), ref("c", "2", "", "s3://b/images/c")})
	})
	t.Run("binary keys", func(t *testing.T) {
		rows := parquetOf(t, 10, `[{"key": "L3g="}]`, field("key", arrow.BinaryTypes.Binary), field("large", arrow.BinaryTypes.LargeString))
		checkManifest(t, rows, at, []string{"large"}, []pipeline.Ref{ref("/x", "")})
	})
	for name, c := range map[string]struct {
		data string
		spec Spec
		says string
	}{
		"bytes as text":    {mixed, at, `"bin"`},
		"a nested column":  {mixed, Spec{Attributes: []string{"nested"}}, `"nested"`},
		"no such column":   {mixed, Spec{Key: "path"}, `"path"`},
		"a null for a key": {parquetOf(t, 10, `[{"key": "a"}, {"key": null}]`, field("key", utf8Type)), at, "row 2"},
		"a cut end":        {mixed[:len(mixed)-9], at, "arquet"},
		"a hole in a page": {mixed[:4] + strings.Repeat("\x00", 400) + mixed[404:], at, "list"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Manifest(t.Context(), objects{"list": c.data}, "list", c.spec)
			if err == nil {
				_, err = all(t, s)
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want it to say %s", err, c.says)
			}
		})
	}
}

// Several batches, each of several row groups.
func TestParquetOfManyRows(t *testing.T) {
	const n = 3*batchRows + 17
	var rows, want []string
	for i := range n {
		want = append(want, fmt.Sprintf("folder/%d", i))
		rows = append(rows, fmt.Sprintf(`{"key": "folder/%d"}`, i))
	}
	data := parquetOf(t, 1000, "["+strings.Join(rows, ",")+"]", field("key", utf8Type))
	s, err := Manifest(t.Context(), objects{"list": data}, "list", Spec{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := all(t, s); !slices.Equal(keys(got), want) || err != nil {
		t.Errorf("%d rows, %v; want %d", len(got), err, n)
	}
}

func TestInventoryInParquet(t *testing.T) {
	data := parquetOf(t, 10, `[
		{"bucket": "shop", "key": "images/a+b.jpg", "is_latest": true, "is_delete_marker": false, "size": 5, "e_tag": "e1"},
		{"bucket": "shop", "key": "images/old.jpg", "is_latest": false, "is_delete_marker": false, "size": 5, "e_tag": "e0"},
		{"bucket": "shop", "key": "images/gone.jpg", "is_latest": true, "is_delete_marker": true, "size": null, "e_tag": null}]`,
		field("bucket", utf8Type), field("key", utf8Type), field("is_latest", arrow.FixedWidthTypes.Boolean),
		field("is_delete_marker", arrow.FixedWidthTypes.Boolean), field("size", arrow.PrimitiveTypes.Int64), field("e_tag", utf8Type))
	store := objects{"m": inventoryOf("Parquet", "message s3.inventory { … }", dataFile("d", data)), "d": data}
	s, err := Manifest(t.Context(), store, "m", Spec{Prefix: "s3://shop/images"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := all(t, s)
	if want := []pipeline.Ref{{Key: "a+b.jpg", ETag: "e1", Size: 5}}; !reflect.DeepEqual(got, want) || err != nil || s.Skipped() != 2 {
		t.Errorf("got %+v with %d skipped, %v; want %+v with 2", got, s.Skipped(), err, want)
	}
}
