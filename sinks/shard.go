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

// Shard is a finished shard: its files, on local disk or named again, and what became of its items.
type Shard struct {
	Number      int              `json:"shard"`
	Files       []Sealed         `json:"files"`
	Embedded    int64            `json:"embedded"`
	Reused      int64            `json:"reused"`
	Changed     int64            `json:"changed"`  // see Ledger
	Computed    map[string]int64 `json:"computed"` // vectors by the model tonight, by task
	Quarantined []Quarantined    `json:"quarantined"`
}

// Rows is the number of images that have vectors.
func (s *Shard) Rows() int64 { return s.Embedded + s.Reused }

// Shards gathers embeddings into finished shards: a table of items, and one of vectors a task, with
// the same rows in the same order. It is a pipeline.Gatherer.
type Shards struct {
	Reuse Reuse

	dir        string
	tasks      []pipeline.Task
	attributes []string
	arrow      bool
	mem        memory.Allocator
	cur        *openShard
}

// Reuse says what of an earlier night goes into the shards; the zero value is nothing.
type Reuse struct {
	Past    *Past
	Changed []bool               // by task: computed for items that need some; nil where there are no such items
	Named   func(shard int) bool // embeddings are named again, and only the items are written
}

// computed tells whether a batch brings the vector of a task for an item.
func (r *Reuse) computed(it *pipeline.Item, task int) bool {
	return it.Need == pipeline.NeedAll || it.Need == pipeline.NeedSome && r.Changed[task]
}

func (r *Reuse) named(shard int) bool { return r.Named != nil && r.Named(shard) }

type openShard struct {
	Shard
	items *table
	tasks []*table // nil: the embeddings are named again
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
func (s *Shards) Gather(ctx context.Context, e *pipeline.Embeddings) (*Shard, bool, error) {
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
	if err := s.append(ctx, e); err != nil {
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
	o := &openShard{Shard: Shard{Number: number, Computed: map[string]int64{}}}
	var err error
	o.items, err = newTable(s.dir, itemsSchema(s.attributes), s.mem, s.kinds(Items, ItemsArrow)...)
	if err != nil {
		return nil, err
	}
	if s.Reuse.named(number) {
		return o, nil
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

func (s *Shards) append(ctx context.Context, e *pipeline.Embeddings) error {
	fresh := slices.Clone(e.Vectors) // what is left of them
	for _, it := range e.Items {
		s.cur.count(it)
		if it.Reject != nil {
			s.cur.Quarantined = append(s.cur.Quarantined, quarantined(it))
			continue
		}
		if err := s.cur.appendItem(it, len(s.attributes)); err != nil {
			return err
		}
		if s.cur.tasks == nil {
			continue
		}
		if err := s.appendVectors(ctx, it, fresh); err != nil {
			return err
		}
	}
	return nil
}

// count enters an item into the shard's figures.
func (o *openShard) count(it *pipeline.Item) {
	if k := it.Known; k != nil && (k.ETag != it.ETag || k.Size != it.Size) {
		o.Changed++
	}
	switch {
	case it.Reject != nil:
	case it.Need == pipeline.NeedNothing:
		o.Reused++
	default:
		o.Embedded++
	}
}

// appendVectors takes an item's vectors out of what was computed, and the others from the past.
func (s *Shards) appendVectors(ctx context.Context, it *pipeline.Item, fresh [][]float32) error {
	var old [][]float32
	if it.Need != pipeline.NeedAll {
		var err error
		if old, err = s.Reuse.Past.Vectors(ctx, it.Twin); err != nil {
			return err
		}
	}
	for i, t := range s.tasks {
		var v []float32
		if s.Reuse.computed(it, i) {
			v, fresh[i] = fresh[i][:t.Dim], fresh[i][t.Dim:]
			s.cur.Computed[t.Name]++
		} else {
			v, old = old[0], old[1:]
		}
		if err := s.cur.tasks[i].appendVector(it.ID, v); err != nil {
			return err
		}
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
		switch {
		case err != nil:
		case o.tasks == nil:
			o.Files = append(o.Files, s.Reuse.Past.Files(o.Number, t.Name, s.kinds(Embedding, EmbeddingArrow)...)...)
		default:
			err = add(o.tasks[i], "embeddings/"+t.Name, t.Name)
		}
	}
	if err != nil {
		removeAll(o.Files)
		return nil, err
	}
	return &o.Shard, nil
}
