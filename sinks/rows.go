package sinks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sort"
	"sync"

	"github.com/facet-search/facet/pipeline"
)

const (
	// rowMeta is what lies of a row beside its id and vectors: content hash, width, height.
	rowMeta = 32 + 4 + 4
	// cachedShards and cachedBytes bound the shards whose rows are kept on local disk.
	cachedShards = 512
	cachedBytes  = 4 << 30
)

// rowCache reads single rows of a snapshot. A Parquet file cannot be asked for one row cheaply, so a
// shard that is asked is laid out on local disk, as columns of fixed width: ids, then hash and size,
// then the vectors of each reusable task.
type rowCache struct {
	past  *Past
	tasks []pipeline.Task
	dir   string

	mu     sync.Mutex
	shards map[int]*shardRows
	order  []int // least recently laid out first
	bytes  int64
}

// shardRows is a shard laid out.
type shardRows struct {
	file  *os.File
	n     int64
	size  int64
	tasks []pipeline.Task
	last  int64 // the row that was found last: the next one asked is likely its neighbour
}

func newRowCache(p *Past, tasks []pipeline.Task, dir string) *rowCache {
	return &rowCache{past: p, tasks: tasks, dir: dir, shards: map[int]*shardRows{}}
}

// cachedRow is a row that was read whole.
type cachedRow struct {
	hash          [32]byte
	width, height int
	vectors       [][]float32 // of the reusable tasks
}

func (c *rowCache) row(ctx context.Context, id int64) (*cachedRow, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := int(id >> pipeline.ShardShift)
	s := c.shards[number]
	if s == nil {
		var err error
		if s, err = c.layOut(ctx, number); err != nil {
			return nil, fmt.Errorf("rows of shard %d: %w", number, err)
		}
	}
	r, err := s.read(id)
	if err != nil {
		return nil, fmt.Errorf("row %d of the parent: %w", id, err)
	}
	return r, nil
}

// layOut writes a shard's rows to local disk, and drops the oldest ones beyond the bounds.
func (c *rowCache) layOut(ctx context.Context, number int) (*shardRows, error) {
	f, err := os.CreateTemp(c.dir, "rows-*")
	if err != nil {
		return nil, err
	}
	s := &shardRows{file: f, tasks: c.tasks, last: -1}
	if err = c.writeItems(ctx, s, number); err == nil {
		err = c.writeVectors(ctx, s, number)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	for len(c.order) > 0 && (len(c.order) >= cachedShards || c.bytes+s.size > cachedBytes) {
		c.drop(c.order[0])
		c.order = c.order[1:]
	}
	c.shards[number] = s
	c.order = append(c.order, number)
	c.bytes += s.size
	return s, nil
}

func (c *rowCache) drop(number int) {
	c.bytes -= c.shards[number].size
	c.shards[number].close()
	delete(c.shards, number)
}

func (c *rowCache) writeItems(ctx context.Context, s *shardRows, number int) error {
	f, ok := c.past.files[Items][""][number]
	if !ok {
		return fmt.Errorf("%w: there are no items", ErrDamaged)
	}
	var ids, meta []byte
	err := c.past.snapshot.EachItem(ctx, f, func(r Row) error {
		ids = binary.LittleEndian.AppendUint64(ids, uint64(r.ID))
		meta = append(meta, r.ContentHash[:]...)
		meta = binary.LittleEndian.AppendUint32(meta, uint32(r.Width))
		meta = binary.LittleEndian.AppendUint32(meta, uint32(r.Height))
		s.n++
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(s.write(ids), s.write(meta))
}

func (c *rowCache) writeVectors(ctx context.Context, s *shardRows, number int) error {
	for _, t := range c.tasks {
		f, ok := c.past.files[Embedding][t.Name][number]
		if !ok {
			return fmt.Errorf("%w: there are no embeddings of task %q", ErrDamaged, t.Name)
		}
		rows := int64(0)
		err := c.past.snapshot.EachVectors(ctx, f, t.Dim, func(v Vectors) error {
			b := make([]byte, 0, 4*len(v.Data))
			for _, x := range v.Data {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			}
			rows += int64(len(v.IDs))
			return s.write(b)
		})
		if err == nil && rows != s.n {
			err = fmt.Errorf("%w: %s has %d rows, the items have %d", ErrDamaged, f.Path, rows, s.n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *shardRows) write(b []byte) error {
	n, err := s.file.Write(b)
	s.size += int64(n)
	return err
}

// read reads the row of an id.
func (s *shardRows) read(id int64) (*cachedRow, error) {
	at, err := s.find(id)
	if err != nil {
		return nil, err
	}
	var meta [rowMeta]byte
	if _, err := s.file.ReadAt(meta[:], 8*s.n+at*rowMeta); err != nil {
		return nil, err
	}
	r := &cachedRow{
		width: int(binary.LittleEndian.Uint32(meta[32:])), height: int(binary.LittleEndian.Uint32(meta[36:])),
	}
	copy(r.hash[:], meta[:])
	off := (8 + rowMeta) * s.n
	for _, t := range s.tasks {
		b := make([]byte, 4*t.Dim)
		if _, err := s.file.ReadAt(b, off+at*int64(len(b))); err != nil {
			return nil, err
		}
		v := make([]float32, t.Dim)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		r.vectors = append(r.vectors, v)
		off += s.n * int64(len(b))
	}
	return r, nil
}

// find returns the row of an id. Rows are in the order of ids, and mostly asked for in it.
func (s *shardRows) find(id int64) (int64, error) {
	var failed error
	at := func(i int64) int64 {
		var b [8]byte
		_, err := s.file.ReadAt(b[:], 8*i)
		failed = errors.Join(failed, err)
		return int64(binary.LittleEndian.Uint64(b[:]))
	}
	row := s.last + 1
	if row >= s.n || at(row) != id {
		row = int64(sort.Search(int(s.n), func(i int) bool { return at(int64(i)) >= id }))
	}
	if failed != nil {
		return 0, failed
	}
	if row >= s.n || at(row) != id {
		return 0, fmt.Errorf("%w: the items have no such id", ErrDamaged)
	}
	s.last = row
	return row, failed
}

func (s *shardRows) close() {
	s.file.Close()
	os.Remove(s.file.Name())
}

func (c *rowCache) close() {
	for number := range c.shards {
		c.drop(number)
	}
}
