package sinks

import (
	"errors"
	"fmt"
	"os"
	"path"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// table collects rows of one published table and writes them to one local file a format.
type table struct {
	rows    *array.RecordBuilder
	buffer  int // rows in the builder
	written int64
	outs    []output
}

type output struct {
	kind Kind
	file *localFile
	tableFile
}

// newTable starts a table. The first kind is written as Parquet, a second one as Arrow IPC.
func newTable(dir string, schema *arrow.Schema, mem memory.Allocator, kinds ...Kind) (*table, error) {
	t := &table{rows: array.NewRecordBuilder(mem, schema)}
	for i, k := range kinds {
		f, err := createLocal(dir, string(k)+"-*")
		if err != nil {
			t.discard()
			return nil, err
		}
		start := newParquet
		if i > 0 {
			start = newArrow
		}
		tf, err := start(f, schema, mem)
		if err != nil {
			f.discard()
			t.discard()
			return nil, err
		}
		t.outs = append(t.outs, output{k, f, tf})
	}
	return t, nil
}

// rowDone counts a row whose columns have been appended.
func (t *table) rowDone() error {
	t.buffer++
	if t.buffer < rowGroup {
		return nil
	}
	return t.flush()
}

func (t *table) flush() error {
	if t.buffer == 0 {
		return nil
	}
	rec := t.rows.NewRecordBatch()
	defer rec.Release()
	for _, o := range t.outs {
		if err := o.Write(rec); err != nil {
			return fmt.Errorf("write %s: %w", o.kind, err)
		}
	}
	t.written += int64(t.buffer)
	t.buffer = 0
	return nil
}

// Sealed is a complete local file that is to become the object File.Path.
type Sealed struct {
	File
	Local string `json:"-"` // deleted once it is stored; "" for an object that is stored already
}

// seal finishes the files. name gives an object's path from its kind and the digest of its content.
func (t *table) seal(describe func(k Kind, digest string) File) ([]Sealed, error) {
	defer t.rows.Release()
	if err := t.flush(); err != nil {
		return nil, err
	}
	var sealed []Sealed
	for _, o := range t.outs {
		if err := errors.Join(o.Close(), o.file.f.Close()); err != nil {
			return nil, fmt.Errorf("finish %s: %w", o.kind, err)
		}
		f := describe(o.kind, o.file.digest())
		f.Kind, f.Rows, f.Bytes, f.SHA256 = o.kind, t.written, o.file.n, o.file.digest()
		sealed = append(sealed, Sealed{File: f, Local: o.file.f.Name()})
	}
	return sealed, nil
}

// discard drops what was written.
func (t *table) discard() {
	t.rows.Release()
	for _, o := range t.outs {
		o.file.discard()
	}
}

// contentName is the name of an immutable file: 64 bits of its digest tell versions of a shard apart.
func contentName(dir string, shard int, digest, ext string) string {
	return path.Join(dir, fmt.Sprintf("%05d-%s%s", shard, digest[:16], ext))
}

func removeAll(files []Sealed) {
	for _, f := range files {
		if f.Local != "" {
			os.Remove(f.Local)
		}
	}
}
