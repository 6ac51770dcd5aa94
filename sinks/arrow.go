package sinks

import (
	"bytes"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// newArrow writes the Arrow IPC file format, uncompressed so that readers can map it.
func newArrow(w io.Writer, schema *arrow.Schema, mem memory.Allocator) (tableFile, error) {
	aw, err := ipc.NewFileWriter(w, ipc.WithSchema(schema), ipc.WithAllocator(mem))
	if err != nil {
		return nil, fmt.Errorf("start Arrow file: %w", err)
	}
	return aw, nil
}

// arrowMagic begins an Arrow IPC file.
var arrowMagic = []byte("ARROW1")

// readArrow calls do with every batch of an Arrow IPC file that lies in memory.
func readArrow(data []byte, do func(arrow.RecordBatch) error) error {
	r, err := ipc.NewFileReader(bytes.NewReader(data), ipc.WithAllocator(memory.DefaultAllocator))
	if err != nil {
		return fmt.Errorf("%w Arrow file: %w", ErrDamaged, err)
	}
	defer r.Close()
	for i := range r.NumRecords() {
		rec, err := r.RecordBatchAt(i)
		if err != nil {
			return fmt.Errorf("%w Arrow file: %w", ErrDamaged, err)
		}
		err = do(rec)
		rec.Release()
		if err != nil {
			return err
		}
	}
	return nil
}
