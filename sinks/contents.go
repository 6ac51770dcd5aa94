package sinks

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"sync"
)

// content is where a content was seen: the first 8 bytes of its hash, and the id of the row.
type content struct {
	prefix uint64
	id     int64
}

func contentOf(b []byte) content {
	return content{binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint64(b[8:]))}
}

func (s content) put(b []byte) {
	binary.LittleEndian.PutUint64(b, s.prefix)
	binary.LittleEndian.PutUint64(b[8:], uint64(s.id))
}

func prefixOf(hash [32]byte) uint64 { return binary.BigEndian.Uint64(hash[:]) }

// contentBytes is a record on disk, and contentParts the number of files that they are sorted in.
const (
	contentBytes = 16
	contentParts = 256
)

// contents finds ids by the prefix of a content hash. It takes all, and then is asked; it lies on local
// disk, in parts by the first byte of the hash, each of which is sorted in memory when it is first asked.
type contents struct {
	dir   string
	mu    sync.Mutex
	parts [contentParts]contentPart
}

type contentPart struct {
	file   *os.File
	w      *bufio.Writer
	n      int64
	sorted bool
}

func newContents(dir string) *contents { return &contents{dir: dir} }

func (c *contents) add(seen []content) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b [contentBytes]byte
	for _, s := range seen {
		p := &c.parts[s.prefix>>56]
		if p.file == nil {
			if err := p.create(c.dir); err != nil {
				return err
			}
		}
		s.put(b[:])
		if _, err := p.w.Write(b[:]); err != nil {
			return fmt.Errorf("content hashes: %w", err)
		}
		p.n++
	}
	return nil
}

func (p *contentPart) create(dir string) (err error) {
	if p.file, err = os.CreateTemp(dir, "contents-*"); err != nil {
		return fmt.Errorf("content hashes: %w", err)
	}
	p.w = bufio.NewWriterSize(p.file, 8<<10)
	return nil
}

// find returns the ids of a prefix, ascending.
func (c *contents) find(prefix uint64) ([]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.parts[prefix>>56]
	if p.n == 0 {
		return nil, nil
	}
	if err := p.sort(); err != nil {
		return nil, fmt.Errorf("content hashes: %w", err)
	}
	var ids []int64
	var failed error
	at := func(i int) content {
		s, err := p.at(int64(i))
		failed = errors.Join(failed, err)
		return s
	}
	for i := sort.Search(int(p.n), func(i int) bool { return at(i).prefix >= prefix }); i < int(p.n); i++ {
		s := at(i)
		if s.prefix != prefix || failed != nil {
			break
		}
		ids = append(ids, s.id)
	}
	if failed != nil {
		return nil, fmt.Errorf("content hashes: %w", failed)
	}
	return ids, nil
}

func (p *contentPart) at(i int64) (content, error) {
	var b [contentBytes]byte
	_, err := p.file.ReadAt(b[:], i*contentBytes)
	return contentOf(b[:]), err
}

// sort sorts a part by prefix and id.
func (p *contentPart) sort() error {
	if p.sorted {
		return nil
	}
	if err := p.w.Flush(); err != nil {
		return err
	}
	b := make([]byte, p.n*contentBytes)
	if _, err := p.file.ReadAt(b, 0); err != nil {
		return err
	}
	all := make([]content, 0, p.n)
	for r := range slices.Chunk(b, contentBytes) {
		all = append(all, contentOf(r))
	}
	slices.SortFunc(all, func(a, b content) int { return cmp.Or(cmp.Compare(a.prefix, b.prefix), cmp.Compare(a.id, b.id)) })
	for i, s := range all {
		s.put(b[i*contentBytes:])
	}
	_, err := p.file.WriteAt(b, 0)
	p.sorted = err == nil
	return err
}

func (c *contents) close() {
	for i := range c.parts {
		if f := c.parts[i].file; f != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}
}
