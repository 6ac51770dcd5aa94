package faiss

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// The layout of FAISS 1.7's IVF files, all numbers little-endian (faiss/impl/index_write.cpp):
//
//	[ "IxPT" header, int32 n, n transforms ]       if vectors are transformed first
//	"IwFl" | "IwSq" | "IwPQ" header, uint64 nlist, uint64 nprobe, coarse index, direct map, codec
//	"ilar" uint64 nlist, uint64 code size
//	"full" uint64 nlist, nlist × uint64 size       or, if at least half of the lists are empty,
//	"sprs" uint64 2m, m × (uint64 list, uint64 size)
//	the lists that are not empty: size × code, size × int64 id
//
// with header = int32 dim, int64 ntotal, 2 × int64, uint8 trained, int32 metric [, float32 if > 1].
const (
	headerSize  = 4 + 8 + 2*8 + 1 + 4
	totalOffset = 4 + 4 // of ntotal, from the four letters that come before the header
	listsHead   = 4 + 8 + 8 + 4 + 8
)

// ivfFile is a trained, empty IVF file: what all shards begin with.
type ivfFile struct {
	file   *os.File
	size   int64
	totals []int64 // offsets of the ntotal fields, which are all that a shard's beginning differs in
	lists  int64   // offset of "ilar"

	nlist    uint64
	codeSize uint64
}

func openTrained(path string) (*ivfFile, error) {
	f, size, err := openSized(path)
	if err != nil {
		return nil, err
	}
	t := &ivfFile{file: f, size: size}
	if err := t.parse(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func openSized(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

func (t *ivfFile) parse() error {
	c := &cursor{r: bufio.NewReader(t.file), size: t.size}
	kind := c.letters()
	if kind == "IxPT" {
		if err := t.header(c); err != nil {
			return err
		}
		for n := c.uint32(); n > 0 && c.err == nil; n-- {
			c.transform(0)
		}
		kind = c.letters()
	}
	switch {
	case c.err != nil:
		return c.err
	case kind == "IxM2" || kind == "IxMp":
		return errors.New("an index inside an IDMap cannot be merged")
	case !slices.Contains([]string{"IwFl", "IwSq", "IwPQ"}, kind):
		return fmt.Errorf("index type %q cannot be merged, only inverted lists of plain vectors, SQ or PQ codes", kind)
	}
	if err := t.header(c); err != nil {
		return err
	}
	nlist := c.uint64()
	if c.err != nil {
		return c.err
	}
	return t.emptyLists(nlist)
}

// header notes where ntotal stands and wants it to be 0.
func (t *ivfFile) header(c *cursor) error {
	t.totals = append(t.totals, c.offset-4+totalOffset)
	head := c.bytes(headerSize)
	if c.err != nil {
		return c.err
	}
	if n := binary.LittleEndian.Uint64(head[4:]); n != 0 {
		return fmt.Errorf("not an empty index: it says it holds %d vectors", n)
	}
	if metric := int32(binary.LittleEndian.Uint32(head[headerSize-4:])); metric > 1 {
		c.skip(4)
	}
	return c.err
}

// emptyLists reads the end of the file, which is known without knowing the codec before it.
func (t *ivfFile) emptyLists(nlist uint64) error {
	t.lists = t.size - listsHead
	var b [listsHead]byte
	if _, err := t.file.ReadAt(b[:], max(t.lists, 0)); err != nil {
		return fmt.Errorf("read inverted lists: %w", err)
	}
	if string(b[:4]) != "ilar" || string(b[20:24]) != "sprs" || binary.LittleEndian.Uint64(b[24:]) != 0 {
		return errors.New("it does not end in empty inverted lists")
	}
	t.nlist, t.codeSize = binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:])
	// Each list has a centroid in the file, and each vector in a list an id beside its code.
	if t.nlist != nlist || nlist == 0 || nlist > uint64(t.size) {
		return fmt.Errorf("it claims %d inverted lists, and %d of them", nlist, t.nlist)
	}
	if t.codeSize == 0 || t.codeSize > 1<<24 {
		return fmt.Errorf("it claims codes of %d bytes", t.codeSize)
	}
	return nil
}

// cursor reads a file from its beginning; after an error it yields zeros.
type cursor struct {
	r      *bufio.Reader
	offset int64
	size   int64 // of the file
	err    error
}

func (c *cursor) bytes(n int) []byte {
	b := make([]byte, n)
	if c.err == nil {
		_, c.err = io.ReadFull(c.r, b)
		c.offset += int64(n)
	}
	return b
}

func (c *cursor) letters() string { return string(c.bytes(4)) }
func (c *cursor) uint32() uint32  { return binary.LittleEndian.Uint32(c.bytes(4)) }
func (c *cursor) uint64() uint64  { return binary.LittleEndian.Uint64(c.bytes(8)) }

func (c *cursor) skip(n int64) {
	if c.err == nil && n > c.size-c.offset {
		c.err = io.ErrUnexpectedEOF
	}
	if c.err == nil {
		_, c.err = io.CopyN(io.Discard, c.r, n)
		c.offset += n
	}
}

// vectors skips n vectors of 4-byte numbers with their lengths.
func (c *cursor) vectors(n int) {
	for range n {
		length := c.uint64()
		if length > uint64(c.size)/4 {
			c.err = cmp.Or(c.err, io.ErrUnexpectedEOF)
		}
		if c.err != nil {
			return
		}
		c.skip(4 * int64(length))
	}
}

// transform skips a VectorTransform.
func (c *cursor) transform(depth int) {
	switch kind := c.letters(); {
	case c.err != nil:
		return
	case kind == "LTra" || kind == "rrot":
		c.linear()
	case kind == "Pcam":
		c.skip(4 + 4 + 1 + 4) // eigen_power, epsilon, random_rotation, balanced_bins
		c.vectors(3)
		c.linear()
	case kind == "Viqm":
		c.skip(4 + 4) // max_iter, seed
		c.linear()
	case kind == "RmDT" || kind == "VCnt":
		c.vectors(1)
	case kind == "VNrm":
		c.skip(4)
	case kind == "Viqt" && depth == 0:
		c.vectors(1)
		c.skip(1)
		c.transform(depth + 1)
		c.transform(depth + 1)
	default:
		c.err = fmt.Errorf("unknown vector transform %q", kind)
	}
	c.skip(4 + 4 + 1) // d_in, d_out, is_trained
}

// linear skips the fields of a LinearTransform: have_bias, A, b.
func (c *cursor) linear() {
	c.skip(1)
	c.vectors(2)
}
