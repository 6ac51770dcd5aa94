// Command read prints the first image of the current snapshot below an output and the image that is
// most like it, by exact search over one task's embeddings: go run ./docs/examples/go OUTPUT [TASK].
// It uses nothing of Facet's: the manifest is JSON, and the tables are plain Parquet.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// manifest holds what this reader needs of a snapshot's manifest.json.
type manifest struct {
	Tasks []taskInfo
	Files []struct{ Path, Kind, Task string }
}

type taskInfo struct {
	Name string
	Dim  int
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 {
		log.Fatal("usage: read OUTPUT [TASK]")
	}
	if err := run(context.Background(), os.Args[1], os.Args[2:]...); err != nil {
		log.Fatal("read: ", err)
	}
}

func run(ctx context.Context, root string, task ...string) error {
	var current struct{ Snapshot string }
	var m manifest
	if err := readJSON(filepath.Join(root, "CURRENT"), &current); err != nil {
		return err
	}
	if err := readJSON(filepath.Join(root, "snapshots", current.Snapshot, "manifest.json"), &m); err != nil {
		return err
	}
	at := slices.IndexFunc(m.Tasks, func(t taskInfo) bool { return len(task) == 0 || t.Name == task[0] })
	if at < 0 {
		return fmt.Errorf("snapshot %s has no task %q", current.Snapshot, task)
	}
	name, dim := m.Tasks[at].Name, m.Tasks[at].Dim
	keys, vectors, err := m.read(ctx, root, name)
	if err != nil {
		return err
	}
	if len(vectors) != len(keys)*dim || len(keys) < 2 {
		return fmt.Errorf("%d keys and %d numbers, want %d a key and two keys at least", len(keys), len(vectors), dim)
	}
	best, score := nearest(vectors, dim)
	fmt.Printf("%s: of %d images, %s resembles %s most (%.4f)\n", name, len(keys), keys[best], keys[0], score)
	return nil
}

// read returns the keys and vectors of a task. Row i of a shard's embeddings belongs to row i of its
// items, and the manifest lists the shards of both in the same order. It is the only list of a
// snapshot's files: never use a glob.
func (m manifest) read(ctx context.Context, root, task string) (keys []string, vectors []float32, err error) {
	for _, f := range m.Files {
		if f.Kind != "items" && (f.Kind != "embeddings" || f.Task != task) {
			continue
		}
		err := eachBatch(ctx, filepath.Join(root, f.Path), func(b arrow.RecordBatch) {
			switch c := b.Column(1).(type) { // 0 is image_id
			case *array.String: // key
				for i := range c.Len() {
					keys = append(keys, strings.Clone(c.Value(i)))
				}
			case *array.FixedSizeList: // embedding
				first, _ := c.ValueOffsets(0)
				_, last := c.ValueOffsets(c.Len() - 1)
				vectors = append(vectors, c.ListValues().(*array.Float32).Float32Values()[first:last]...)
			}
		})
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	return keys, vectors, nil
}

func readJSON(name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// eachBatch calls do with the rows of a Parquet file; do keeps nothing of a batch.
func eachBatch(ctx context.Context, name string, do func(arrow.RecordBatch)) error {
	f, err := file.OpenParquetFile(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: 10_000}, memory.DefaultAllocator)
	if err != nil {
		return err
	}
	batches, err := r.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer batches.Release()
	for batches.Next() {
		if b := batches.RecordBatch(); b.NumRows() > 0 {
			do(b)
		}
	}
	if err := batches.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// nearest finds the row with the largest inner product with row 0.
func nearest(vectors []float32, dim int) (best int, score float32) {
	for i := dim; i < len(vectors); i += dim {
		var dot float32
		for d, v := range vectors[:dim] {
			dot += v * vectors[i+d]
		}
		if best == 0 || dot > score {
			best, score = i/dim, dot
		}
	}
	return best, score
}
