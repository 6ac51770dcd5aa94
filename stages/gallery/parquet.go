package gallery

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// batchRows are in memory at a time, beside one page of each chosen column.
const batchRows = 4096

// parquetTable is a Parquet file.
type parquetTable struct {
	file    *file.Reader
	records pqarrow.RecordReader
	columns []arrow.Array // of the current batch, in the order of the choice
	names   []string
	batch   int64 // rows in the batch
	i       int64 // the next of them
	n       int64 // rows returned
	row     []string
}

func newParquet(f *os.File, pick chooser) (t *parquetTable, err error) {
	defer damaged(&err)
	properties := parquet.NewReaderProperties(memory.DefaultAllocator)
	properties.BufferedStreamEnabled = true // else a whole column of a row group
	r, err := file.NewParquetReader(f, file.WithReadProps(properties))
	if err != nil {
		return nil, err
	}
	names, leaves := flatColumns(r)
	chosen, err := pick(names)
	if err != nil {
		return nil, err
	}
	t = &parquetTable{file: r, row: make([]string, len(chosen))}
	var wanted []int
	for _, c := range chosen {
		t.names = append(t.names, names[c])
		if !slices.Contains(wanted, leaves[c]) {
			wanted = append(wanted, leaves[c])
		}
	}
	a, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{BatchSize: batchRows}, memory.DefaultAllocator)
	if err != nil {
		return nil, err
	}
	if t.records, err = a.GetRecordReader(context.Background(), wanted, nil); err != nil {
		return nil, err
	}
	return t, nil
}

// flatColumns are the columns that are not nested, and their indices.
func flatColumns(r *file.Reader) (names []string, leaves []int) {
	schema := r.MetaData().Schema
	for i := range schema.NumColumns() {
		if c := schema.Column(i); len(c.ColumnPath()) == 1 && c.MaxRepetitionLevel() == 0 {
			names, leaves = append(names, c.Name()), append(leaves, i)
		}
	}
	return names, leaves
}

// damaged makes an error of a panic: the library has some left for files that are not what they claim.
func damaged(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the Parquet file is damaged: %v", p)
	}
}

func (t *parquetTable) next() (row []string, err error) {
	defer damaged(&err)
	for t.i == t.batch {
		if err := t.load(); err != nil {
			return nil, err
		}
	}
	for c, column := range t.columns {
		t.row[c] = text(column, int(t.i))
	}
	t.i++
	t.n++
	return t.row, nil
}

// load reads the next batch.
func (t *parquetTable) load() error {
	if !t.records.Next() {
		if err := t.records.Err(); err != nil && err != io.EOF { //nolint:errorlint // wrapped, it is a failure
			return err
		}
		if want := t.file.NumRows(); t.n != want {
			return fmt.Errorf("the file ends after %d of %d rows", t.n, want)
		}
		return io.EOF
	}
	record := t.records.RecordBatch()
	t.columns = t.columns[:0]
	for _, name := range t.names {
		at := record.Schema().FieldIndices(name)
		if len(at) != 1 {
			return fmt.Errorf("the column %q is there %d times", name, len(at))
		}
		t.columns = append(t.columns, record.Column(at[0]))
	}
	t.batch, t.i = record.NumRows(), 0
	return nil
}

// text is a value as text, "" for a null. The array's memory is reused, so it is a copy.
func text(a arrow.Array, i int) string {
	if a.IsNull(i) {
		return ""
	}
	switch a := a.(type) {
	case *array.Binary:
		return string(a.Value(i))
	case *array.LargeBinary:
		return string(a.Value(i))
	case *array.FixedSizeBinary:
		return string(a.Value(i))
	case *array.Dictionary:
		return text(a.Dictionary(), a.GetValueIndex(i))
	}
	return strings.Clone(a.ValueStr(i))
}

func (t *parquetTable) at() string { return fmt.Sprintf("row %d", t.n) }

func (t *parquetTable) close() error {
	t.records.Release()
	return t.file.Close()
}
