package stages

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/facet-search/facet/pipeline"
)

// Backlog is the items of shards that have to be written again, on local disk and in order: a listing
// is compared as a whole before the first image is read, and may be larger than memory. It takes
// shards until Rewind, and is then a Source of their items.
type Backlog struct {
	file  *os.File
	w     *bufio.Writer
	r     *bufio.Reader
	buf   []byte
	count int64
}

// NewBacklog keeps items in a file at path, which is removed by Close.
func NewBacklog(path string) (*Backlog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("backlog: %w", err)
	}
	return &Backlog{file: f, w: bufio.NewWriterSize(f, 256<<10)}, nil
}

// Count is the number of items.
func (b *Backlog) Count() int64 { return b.count }

// Add appends a shard's items.
func (b *Backlog) Add(d *ShardDelta) error {
	for _, it := range d.Items {
		b.buf = appendItem(b.buf[:0], it)
		if _, err := b.w.Write(b.buf); err != nil {
			return fmt.Errorf("backlog: %w", err)
		}
		b.count++
	}
	return nil
}

// Rewind ends the taking of shards.
func (b *Backlog) Rewind() error {
	if err := b.w.Flush(); err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	if _, err := b.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("backlog: %w", err)
	}
	b.r = bufio.NewReaderSize(b.file, 256<<10)
	return nil
}

// Next implements pipeline.Source.
func (b *Backlog) Next(ctx context.Context) (*pipeline.Item, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	it, err := readItem(b.r)
	if err != nil && err != io.EOF { //nolint:errorlint // wrapped, it is a failure
		return nil, fmt.Errorf("backlog: %w", err)
	}
	return it, err
}

// Close removes the file.
func (b *Backlog) Close() {
	b.file.Close()
	os.Remove(b.file.Name())
}

const (
	markLast = 1 << iota
	markKnown
	markRejected // what is known is a place in the quarantine
	markKept     // and the item stays there
)

func appendItem(b []byte, it *pipeline.Item) []byte {
	b = appendRef(b, it.Ref)
	b = binary.AppendVarint(b, it.ID)
	b = append(b, marks(it), byte(it.Need))
	k := it.Known
	if k == nil {
		return b
	}
	b = binary.AppendVarint(appendText(b, k.ETag), k.Size)
	if k.Reject != nil {
		return appendText(appendText(b, string(k.Reject.Reason)), k.Reject.Err.Error())
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(k.Width)), uint64(k.Height))
	return append(b, k.ContentHash[:]...)
}

func marks(it *pipeline.Item) (m byte) {
	for bit, on := range map[byte]bool{
		markLast: it.Last, markKnown: it.Known != nil, markRejected: it.Known != nil && it.Known.Reject != nil, markKept: it.Reject != nil,
	} {
		if on {
			m |= bit
		}
	}
	return m
}

// readItem returns io.EOF only between records.
func readItem(r *bufio.Reader) (*pipeline.Item, error) {
	ref, err := readRef(r)
	if err != nil {
		return nil, err
	}
	f := fields{r: r}
	it := &pipeline.Item{Ref: ref, ID: f.signed()}
	var m [2]byte
	f.bytes(m[:])
	it.Last, it.Need = m[0]&markLast != 0, pipeline.Need(m[1])
	if m[0]&markKnown != 0 {
		it.Known = f.known(it.ID, m[0]&markRejected != 0)
	}
	switch {
	case m[0]&markKept != 0:
		it.Reject = it.Known.Reject
	case it.Need == pipeline.NeedNothing:
		it.Settle(it.Known)
	}
	return it, f.err
}

func (f *fields) known(id int64, rejected bool) *pipeline.Known {
	k := &pipeline.Known{ID: id, ETag: f.text(), Size: f.signed()}
	if rejected {
		k.Reject = &pipeline.Reject{Reason: pipeline.Reason(f.text()), Err: errors.New(f.text())}
		return k
	}
	k.Width, k.Height = int(f.unsigned()), int(f.unsigned())
	f.bytes(k.ContentHash[:])
	return k
}
