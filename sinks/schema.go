package sinks

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/facet-search/facet/pipeline"
)

// The columns of the published tables. Vectors are never null: an image without one is in the
// quarantine, not in a table with a hole.

func itemsSchema(attributes []string) *arrow.Schema {
	fields := []arrow.Field{
		{Name: "image_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "key", Type: arrow.BinaryTypes.String},
		{Name: "etag", Type: arrow.BinaryTypes.String},
		{Name: "bytes", Type: arrow.PrimitiveTypes.Int64},
		{Name: "width", Type: arrow.PrimitiveTypes.Int32},
		{Name: "height", Type: arrow.PrimitiveTypes.Int32},
		{Name: "content_hash", Type: &arrow.FixedSizeBinaryType{ByteWidth: 32}},
	}
	for _, a := range attributes {
		fields = append(fields, arrow.Field{Name: a, Type: arrow.BinaryTypes.String, Nullable: true})
	}
	return arrow.NewSchema(fields, nil)
}

// reservedColumns are names that an attribute can't have.
var reservedColumns = []string{"image_id", "key", "etag", "bytes", "width", "height", "content_hash"}

func embeddingsSchema(t pipeline.Task) *arrow.Schema {
	return arrow.NewSchema([]arrow.Field{
		{Name: "image_id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "embedding", Type: arrow.FixedSizeListOfNonNullable(int32(t.Dim), arrow.PrimitiveTypes.Float32)},
	}, nil)
}
