package sinks

import (
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
