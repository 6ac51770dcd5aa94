package sinks

import (
	"bytes"
	"context"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// Row is a row of the items.
type Row struct {
	ID            int64
	Key, ETag     string
	Bytes         int64
	Width, Height int
	ContentHash   [32]byte
	Attributes    []string // "" for null
}

// Vectors are rows of a task's embeddings: the vector of IDs[i] is Data[i*D : (i+1)*D].
type Vectors struct {
	IDs  []int64
	Data []float32
}

// readTable calls do with every batch of a Parquet or Arrow file that lies in memory; batches are valid
// during the call. A file that is not what was written is an ErrDamaged.
func readTable(ctx context.Context, data []byte, do func(arrow.RecordBatch) error) (err error) {
	defer func() { // the Parquet reader panics on some damaged pages
		if p := recover(); p != nil {
			err = fmt.Errorf("%w Parquet: %v", ErrDamaged, p)
		}
	}()
	if bytes.HasPrefix(data, arrowMagic) {
		return readArrow(data, do)
	}
	pf, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%w Parquet: %w", ErrDamaged, err)
	}
	defer pf.Close()
	fr, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: rowGroup}, memory.DefaultAllocator)
	if err != nil {
		return fmt.Errorf("%w Parquet: %w", ErrDamaged, err)
	}
	rr, err := fr.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return fmt.Errorf("%w Parquet: %w", ErrDamaged, err)
	}
	defer rr.Release()
	for rr.Next() {
		if err := do(rr.RecordBatch()); err != nil {
			return err
		}
	}
	if err := rr.Err(); err != nil {
		return fmt.Errorf("%w Parquet: %w", ErrDamaged, err)
	}
	return nil
}

// column finds a column of the expected type without nulls.
func column[A arrow.Array](rec arrow.RecordBatch, name string) (A, error) {
	var none A
	idx := rec.Schema().FieldIndices(name)
	if len(idx) != 1 {
		return none, fmt.Errorf("%w Parquet: there is no column %q", ErrDamaged, name)
	}
	col, ok := rec.Column(idx[0]).(A)
	if !ok {
		return none, fmt.Errorf("%w Parquet: column %q is of type %s", ErrDamaged, name, rec.Column(idx[0]).DataType())
	}
	if n := col.NullN(); n > 0 {
		return none, fmt.Errorf("%w Parquet: column %q has %d nulls", ErrDamaged, name, n)
	}
	return col, nil
}

// ReadVectors reads an embeddings file. dim is the task's; another length is an error. What do gets
// is valid during the call.
func ReadVectors(ctx context.Context, data []byte, dim int, do func(Vectors) error) error {
	return readTable(ctx, data, func(rec arrow.RecordBatch) error {
		ids, err := column[*array.Int64](rec, "image_id")
		if err != nil {
			return err
		}
		list, err := column[*array.FixedSizeList](rec, "embedding")
		if err != nil {
			return err
		}
		values, ok := list.ListValues().(*array.Float32)
		if n := list.DataType().(*arrow.FixedSizeListType).Len(); !ok || int(n) != dim {
			return fmt.Errorf("%w Parquet: embedding is %s, want %d float32", ErrDamaged, list.DataType(), dim)
		}
		off := list.Offset() * dim
		return do(Vectors{IDs: ids.Int64Values(), Data: values.Float32Values()[off : off+rec.Columns()[0].Len()*dim]})
	})
}

// itemColumns are the fixed columns of an items batch.
type itemColumns struct {
	id, bytes     *array.Int64
	key, etag     *array.String
	width, height *array.Int32
	hash          *array.FixedSizeBinary
}

func columnsOf(rec arrow.RecordBatch) (c itemColumns, err error) {
	set := func(e error) {
		if err == nil {
			err = e
		}
	}
	var e error
	c.id, e = column[*array.Int64](rec, "image_id")
	set(e)
	c.key, e = column[*array.String](rec, "key")
	set(e)
	c.etag, e = column[*array.String](rec, "etag")
	set(e)
	c.bytes, e = column[*array.Int64](rec, "bytes")
	set(e)
	c.width, e = column[*array.Int32](rec, "width")
	set(e)
	c.height, e = column[*array.Int32](rec, "height")
	set(e)
	c.hash, e = column[*array.FixedSizeBinary](rec, "content_hash")
	set(e)
	return c, err
}

// ReadItems reads an items file row by row.
func ReadItems(ctx context.Context, data []byte, do func(Row) error) error {
	return readTable(ctx, data, func(rec arrow.RecordBatch) error {
		c, err := columnsOf(rec)
		if err != nil {
			return err
		}
		fixed := len(reservedColumns)
		for i := range int(rec.NumRows()) {
			r := Row{
				ID: c.id.Value(i), Key: c.key.Value(i), ETag: c.etag.Value(i), Bytes: c.bytes.Value(i),
				Width: int(c.width.Value(i)), Height: int(c.height.Value(i)),
			}
			copy(r.ContentHash[:], c.hash.Value(i))
			for j := fixed; j < int(rec.NumCols()); j++ {
				a, ok := rec.Column(j).(*array.String)
				if !ok || a.IsNull(i) {
					r.Attributes = append(r.Attributes, "")
					continue
				}
				r.Attributes = append(r.Attributes, a.Value(i))
			}
			if err := do(r); err != nil {
				return err
			}
		}
		return nil
	})
}
