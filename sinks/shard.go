package sinks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/facet-search/facet/pipeline"
)

// Shard is a finished shard: its files on local disk, and what became of its items.
type Shard struct {
	Number      int
	Files       []Sealed
	Embedded    int64
	Quarantined []Quarantined
}

// Quarantined is a row of the quarantine.
type Quarantined struct {
	ID     int64
	Key    string
	ETag   string
	Reason pipeline.Reason
	Error  string
}

// Shards gathers embeddings into finished shards: a table of items, and one of vectors a task, with
// the same rows in the same order. It is a pipeline.Gatherer.
type Shards struct {
	dir        string
	tasks      []pipeline.Task
	attributes []string
	arrow      bool
	mem        memory.Allocator
	cur        *openShard
}

type openShard struct {
	Shard
	items *table
	tasks []*table
}

// NewShards gathers into local files below dir. With arrow it writes Arrow IPC beside Parquet.
func NewShards(dir string, tasks []pipeline.Task, attributes []string, arrow bool) (*Shards, error) {
	for i, a := range attributes {
		if a == "" || !utf8.ValidString(a) || slices.Contains(reservedColumns, a) || slices.Contains(attributes[:i], a) {
			return nil, fmt.Errorf("attribute %q cannot be a column of items: it is empty, taken (%s) or given twice",
				a, strings.Join(reservedColumns, ", "))
		}
	}
	return &Shards{dir: dir, tasks: tasks, attributes: attributes, arrow: arrow, mem: memory.DefaultAllocator}, nil
}

// Gather implements pipeline.Gatherer. All items of a batch belong to one shard.
func (s *Shards) Gather(_ context.Context, e *pipeline.Embeddings) (*Shard, bool, error) {
	first, last := e.Items[0], e.Items[len(e.Items)-1]
	if s.cur == nil {
		cur, err := s.open(first.Shard())
		if err != nil {
			return nil, false, fmt.Errorf("shard %d: %w", first.Shard(), err)
		}
		s.cur = cur
	}
	if first.Shard() != s.cur.Number || last.Shard() != s.cur.Number {
		return nil, false, fmt.Errorf("shard %d: got items of shards %d to %d before its last", s.cur.Number, first.Shard(), last.Shard())
	}
	if err := s.append(e); err != nil {
		return nil, false, fmt.Errorf("shard %d: %w", s.cur.Number, err)
	}
	if !last.Last {
		return nil, false, nil
	}
	done, err := s.seal()
	if err != nil {
		return nil, false, fmt.Errorf("shard %d: %w", first.Shard(), err)
	}
	return done, true, nil
}

// Close drops a shard that was begun and not finished.
func (s *Shards) Close() {
	if s.cur != nil {
		s.cur.discard()
		s.cur = nil
	}
}

func (s *Shards) kinds(k, arrowKind Kind) []Kind {
	if s.arrow {
		return []Kind{k, arrowKind}
	}
	return []Kind{k}
}

func (s *Shards) open(number int) (*openShard, error) {
	o := &openShard{Shard: Shard{Number: number}}
	var err error
	o.items, err = newTable(s.dir, itemsSchema(s.attributes), s.mem, s.kinds(Items, ItemsArrow)...)
	if err != nil {
		return nil, err
	}
	for _, t := range s.tasks {
		tt, err := newTable(s.dir, embeddingsSchema(t), s.mem, s.kinds(Embedding, EmbeddingArrow)...)
		if err != nil {
			o.discard()
			return nil, err
		}
		o.tasks = append(o.tasks, tt)
	}
	return o, nil
}

func (o *openShard) discard() {
	o.items.discard()
	for _, t := range o.tasks {
		t.discard()
	}
}

func (s *Shards) append(e *pipeline.Embeddings) error {
	row := 0
	for _, it := range e.Items {
		if it.Reject != nil {
			s.cur.Quarantined = append(s.cur.Quarantined, quarantined(it))
			continue
		}
		if err := s.cur.appendItem(it, len(s.attributes)); err != nil {
			return err
		}
		for i, t := range s.tasks {
			v := e.Vectors[i][row*t.Dim : (row+1)*t.Dim]
			if err := s.cur.tasks[i].appendVector(it.ID, v); err != nil {
				return err
			}
		}
		row++
		s.cur.Embedded++
	}
	return nil
}

func (o *openShard) appendItem(it *pipeline.Item, attributes int) error {
	f := o.items.rows.Fields()
	f[0].(*array.Int64Builder).Append(it.ID)
	f[1].(*array.StringBuilder).Append(it.Key)
	f[2].(*array.StringBuilder).Append(it.ETag)
	f[3].(*array.Int64Builder).Append(it.Size)
	f[4].(*array.Int32Builder).Append(int32(it.Width))
	f[5].(*array.Int32Builder).Append(int32(it.Height))
	f[6].(*array.FixedSizeBinaryBuilder).Append(it.ContentHash[:])
	for i := range attributes {
		b := f[7+i].(*array.StringBuilder)
		if i >= len(it.Attributes) || it.Attributes[i] == "" {
			b.AppendNull()
			continue
		}
		b.Append(strings.ToValidUTF8(it.Attributes[i], "\uFFFD"))
	}
	return o.items.rowDone()
}

func (t *table) appendVector(id int64, v []float32) error {
	f := t.rows.Fields()
	f[0].(*array.Int64Builder).Append(id)
	list := f[1].(*array.FixedSizeListBuilder)
	list.Append(true)
	list.ValueBuilder().(*array.Float32Builder).AppendValues(v, nil)
	return t.rowDone()
}

func (s *Shards) seal() (*Shard, error) {
	o := s.cur
	s.cur = nil
	ext := map[Kind]string{Items: ".parquet", Embedding: ".parquet", ItemsArrow: ".arrow", EmbeddingArrow: ".arrow"}
	add := func(t *table, dir, task string) error {
		files, err := t.seal(func(k Kind, digest string) File {
			return File{Path: contentName(dir, o.Number, digest, ext[k]), Task: task, Shard: o.Number}
		})
		o.Files = append(o.Files, files...)
		return err
	}
	err := add(o.items, "items", "")
	for i, t := range s.tasks {
		if err == nil {
			err = add(o.tasks[i], "embeddings/"+t.Name, t.Name)
		}
	}
	if err != nil {
		removeAll(o.Files)
		return nil, err
	}
	return &o.Shard, nil
}

// maxError bounds what the quarantine keeps of an error's text.
const maxError = 1000

// quarantined describes a rejected item. A key that is no valid UTF-8 is written with its bad bytes
// escaped, since no Parquet reader would take it otherwise.
func quarantined(it *pipeline.Item) Quarantined {
	key := it.Key
	if !utf8.ValidString(key) {
		key = fmt.Sprintf("%+q", key)
	}
	text := strings.ToValidUTF8(it.Reject.Err.Error(), "\uFFFD")
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	return Quarantined{ID: it.ID, Key: key, ETag: it.ETag, Reason: it.Reject.Reason, Error: text}
}
