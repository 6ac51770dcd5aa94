package sinks

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// rowGroup is the number of rows that a writer holds before it encodes them. A writer's memory
// follows from it, whatever the length of the file.
const rowGroup = 10_000

// localFile is a file being written on local disk, hashed as it goes. It becomes an object of the
// store only when it is whole.
type localFile struct {
	f   *os.File
	sum hash.Hash
	n   int64
}

func createLocal(dir, pattern string) (*localFile, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, fmt.Errorf("create temporary file: %w", err)
	}
	return &localFile{f: f, sum: sha256.New()}, nil
}

func (l *localFile) Write(p []byte) (int, error) {
	n, err := l.f.Write(p)
	l.sum.Write(p[:n])
	l.n += int64(n)
	return n, err
}

func (l *localFile) digest() string { return hex.EncodeToString(l.sum.Sum(nil)) }

func (l *localFile) discard() {
	l.f.Close()
	os.Remove(l.f.Name())
}

// tableFile writes record batches of one schema in one format.
type tableFile interface {
	// Write encodes a batch; the caller keeps it.
	Write(rec arrow.RecordBatch) error
	// Close writes the footer. It does not close the file beneath.
	Close() error
}

// newParquet writes one row group a batch: zstd, byte stream split for floats, delta for ids, no
// dictionaries. DuckDB and pyarrow read it as it stands.
func newParquet(w io.Writer, schema *arrow.Schema, mem memory.Allocator) (tableFile, error) {
	props := parquet.NewWriterProperties(
		parquet.WithAllocator(mem),
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithDictionaryDefault(false),
		parquet.WithEncodingFor("image_id", parquet.Encodings.DeltaBinaryPacked),
		parquet.WithEncodingFor("embedding.list.element", parquet.Encodings.ByteStreamSplit),
		parquet.WithStatsFor("embedding.list.element", false),
		parquet.WithMaxRowGroupLength(rowGroup),
		parquet.WithCreatedBy("facet"),
	)
	arrowProps := pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema(), pqarrow.WithAllocator(mem))
	// The writer would close what it is given; the file is hashed and uploaded after it.
	pw, err := pqarrow.NewFileWriter(schema, struct{ io.Writer }{w}, props, arrowProps)
	if err != nil {
		return nil, fmt.Errorf("start Parquet file: %w", err)
	}
	return pw, nil
}
