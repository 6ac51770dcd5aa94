package faiss

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// shard is an IVF file that began as a copy of a trained one.
type shard struct {
	file *os.File
	size int64
	of   *ivfFile

	full    bool   // a size for every list, or only for those that are not empty
	entries uint64 // uint64s in the table of sizes
	table   int64  // offset of the table
	total   uint64 // vectors, as the header says
}

func openShard(path string, of *ivfFile) (*shard, error) {
	f, size, err := openSized(path)
	if err != nil {
		return nil, err
	}
	s := &shard{file: f, size: size, of: of}
	if err := s.parse(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func (s *shard) parse() error {
	if err := s.sameBeginning(); err != nil {
		return err
	}
	var b [listsHead]byte
	if _, err := s.file.ReadAt(b[:], s.of.lists); err != nil {
		return fmt.Errorf("read inverted lists: %w", err)
	}
	nlist, codeSize := binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:])
	if string(b[:4]) != "ilar" || nlist != s.of.nlist || codeSize != s.of.codeSize {
		return fmt.Errorf("its %d inverted lists with codes of %d bytes are not the trained index's %d with %d",
			nlist, codeSize, s.of.nlist, s.of.codeSize)
	}
	s.table, s.entries = s.of.lists+listsHead, binary.LittleEndian.Uint64(b[24:])
	switch kind := string(b[20:24]); {
	case kind == "full" && s.entries == nlist:
		s.full = true
	case kind == "sprs" && s.entries%2 == 0 && s.entries/2 <= nlist:
	default:
		return fmt.Errorf("its table of list sizes, %q with %d numbers, is damaged", kind, s.entries)
	}
	if s.data() > s.size {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// data is where the lists begin. The trained file bounds nlist, so this does not overflow.
func (s *shard) data() int64 { return s.table + 8*int64(s.entries) }

// sameBeginning compares all that precedes the inverted lists, ntotal apart, with the trained file.
func (s *shard) sameBeginning() error {
	const chunk = 1 << 16
	if s.size < s.of.lists {
		return io.ErrUnexpectedEOF
	}
	var a, b [chunk]byte
	for at := int64(0); at < s.of.lists; at += chunk {
		n := min(chunk, s.of.lists-at)
		if _, err := s.of.file.ReadAt(a[:n], at); err != nil {
			return err
		}
		if _, err := s.file.ReadAt(b[:n], at); err != nil {
			return err
		}
		s.takeTotals(b[:n], at)
		if !bytes.Equal(a[:n], b[:n]) {
			return fmt.Errorf("it was not made from the trained index: they differ within bytes %d…%d", at, at+n)
		}
	}
	for i, at := range s.of.totals {
		var t [8]byte
		if _, err := s.file.ReadAt(t[:], at); err != nil {
			return err
		}
		n := binary.LittleEndian.Uint64(t[:])
		if i > 0 && n != s.total {
			return fmt.Errorf("it says it holds %d vectors, and %d", s.total, n)
		}
		s.total = n
	}
	return nil
}

// takeTotals zeroes the ntotal fields in a chunk that begins at an offset, as in the trained file.
func (s *shard) takeTotals(chunk []byte, offset int64) {
	for _, at := range s.of.totals {
		for i := max(at, offset); i < min(at+8, offset+int64(len(chunk))); i++ {
			chunk[i-offset] = 0
		}
	}
}

// sizes reads the lengths of a shard's lists in turn.
type sizes struct {
	s    *shard
	r    *bufio.Reader
	left uint64 // numbers left in the table

	list, n uint64 // sparse: the next list that is not empty; n is 0 if none was read
}

func (s *shard) sizes() *sizes {
	r := io.NewSectionReader(s.file, s.table, 8*int64(s.entries))
	return &sizes{s: s, r: bufio.NewReaderSize(r, 1<<15), left: s.entries}
}

// next is the length of a list; the lists are asked for in order, each once.
func (z *sizes) next(list uint64) (uint64, error) {
	if z.s.full {
		return z.number()
	}
	if z.n == 0 && z.left > 0 {
		var err error
		if z.list, err = z.number(); err == nil {
			z.n, err = z.number()
		}
		if err != nil {
			return 0, err
		}
		if z.list < list || z.list >= z.s.of.nlist || z.n == 0 {
			return 0, fmt.Errorf("its table of list sizes has %d for list %d at list %d", z.n, z.list, list)
		}
	}
	if z.n == 0 || z.list != list {
		return 0, nil
	}
	n := z.n
	z.n = 0
	return n, nil
}

func (z *sizes) number() (uint64, error) {
	var b [8]byte
	z.left--
	_, err := io.ReadFull(z.r, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

// addSizes adds the lengths of all lists to totals and checks them against the file's own size, so
// that nothing later has to doubt them.
func (s *shard) addSizes(totals []uint64) error {
	each := s.of.codeSize + 8
	room := uint64(s.size-s.data()) / each
	sum := uint64(0)
	z := s.sizes()
	for list := range s.of.nlist {
		n, err := z.next(list)
		if err != nil {
			return err
		}
		if n > room-sum {
			return io.ErrUnexpectedEOF
		}
		sum += n
		totals[list] += n
	}
	if sum != s.total {
		return fmt.Errorf("it says it holds %d vectors, its lists hold %d", s.total, sum)
	}
	if end := s.data() + int64(sum*each); end != s.size {
		return fmt.Errorf("%d bytes follow its last list", s.size-end)
	}
	return nil
}
