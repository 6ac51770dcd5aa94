package stages

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"

	"github.com/facet-search/facet/pipeline"
)

// fanOut is how many files a spool is split into by the next byte of the key's hash.
const fanOut = 256

// spool is a set of refs on local disk, partitioned by one byte of the key's hash, so that a listing
// of any length can be put in shard order within a bounded memory.
type spool struct {
	dir    string
	level  int // which byte of the hash, from the top
	files  [fanOut]*os.File
	bufs   [fanOut]*bufio.Writer
	counts [fanOut]int64
}

func keyHash(key string) uint64 { return xxhash.Sum64String(key) }

func hashByte(h uint64, level int) int { return int(h >> (56 - 8*level) & 0xff) }

func newSpool(dir string, level int) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool listing: %w", err)
	}
	return &spool{dir: dir, level: level}, nil
}

func (s *spool) add(r pipeline.Ref) error {
	p := hashByte(keyHash(r.Key), s.level)
	if s.files[p] == nil {
		f, err := os.OpenFile(filepath.Join(s.dir, fmt.Sprintf("%02x", p)), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("spool listing: %w", err)
		}
		s.files[p], s.bufs[p] = f, bufio.NewWriterSize(f, 16<<10)
	}
	s.counts[p]++
	if _, err := s.bufs[p].Write(appendRef(nil, r)); err != nil {
		return fmt.Errorf("spool listing: %w", err)
	}
	return nil
}

// seal writes out what is buffered; after it, read may be called.
func (s *spool) seal() error {
	for _, b := range s.bufs {
		if b == nil {
			continue
		}
		if err := b.Flush(); err != nil {
			return fmt.Errorf("spool listing: %w", err)
		}
	}
	return nil
}

// read calls do with every ref of one partition, in the order in which they were added.
func (s *spool) read(partition int, do func(pipeline.Ref) error) error {
	f := s.files[partition]
	if f == nil {
		return nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("spool listing: %w", err)
	}
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		ref, err := readRef(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("spool listing: read %s: %w", f.Name(), err)
		}
		if err := do(ref); err != nil {
			return err
		}
	}
}

// drop removes one partition from disk.
func (s *spool) drop(partition int) {
	if f := s.files[partition]; f != nil {
		f.Close()
		os.Remove(f.Name())
		s.files[partition], s.bufs[partition] = nil, nil
	}
}

func (s *spool) close() {
	for p := range s.files {
		s.drop(p)
	}
	os.RemoveAll(s.dir) // the spools that were split off from this one lie beneath it
}

// appendRef and readRef are the spool's records: length-prefixed strings, size as a signed varint.
func appendRef(b []byte, r pipeline.Ref) []byte {
	b = appendText(appendText(b, r.Key), r.ETag)
	b = binary.AppendVarint(b, r.Size)
	b = binary.AppendUvarint(b, uint64(len(r.Attributes)))
	for _, a := range r.Attributes {
		b = appendText(b, a)
	}
	return b
}

// readRef returns io.EOF only between records.
func readRef(r *bufio.Reader) (ref pipeline.Ref, err error) {
	if _, err := r.Peek(1); err != nil {
		return ref, err
	}
	f := fields{r: r}
	ref.Key, ref.ETag = f.text(), f.text()
	ref.Size = f.signed()
	for n := f.unsigned(); n > 0 && f.err == nil; n-- {
		ref.Attributes = append(ref.Attributes, f.text())
	}
	return ref, f.err
}

// fields reads the values of a record; after an error they are all zero.
type fields struct {
	r   *bufio.Reader
	err error
}

// fail keeps the first error. No record ends within a field.
func (f *fields) fail(err error) {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if f.err == nil {
		f.err = err
	}
}

func (f *fields) unsigned() (n uint64) {
	if f.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(f.r)
	f.fail(err)
	return n
}

func (f *fields) signed() (n int64) {
	if f.err != nil {
		return 0
	}
	n, err := binary.ReadVarint(f.r)
	f.fail(err)
	return n
}

func (f *fields) text() string {
	n := f.unsigned()
	if f.err != nil {
		return ""
	}
	buf := make([]byte, n)
	f.bytes(buf)
	return string(buf)
}

func (f *fields) bytes(p []byte) {
	if f.err != nil {
		return
	}
	_, err := io.ReadFull(f.r, p)
	f.fail(err)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
