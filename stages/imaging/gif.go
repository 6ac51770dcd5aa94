package imaging

import (
	"compress/lzw"
	"encoding/binary"
	"errors"
	"io"

	"github.com/facet-search/facet/pipeline"
)

// gifFrame is the first frame of a GIF, still compressed.
type gifFrame struct {
	x, y, width, height int
	interlaced          bool
	transparent         int // palette index, -1 for none
	palette             [256][3]byte
	codeSize            int
	blocks              []byte // the sub-blocks of its image data
}

// gifWalk goes through a GIF's blocks to the end, so that a file cut anywhere is known to be.
type gifWalk struct {
	header
	rest        []byte
	transparent int
	palette     [256][3]byte
}

func parseGIF(data []byte) (header, error) {
	const screen = 13
	if len(data) < screen {
		return header{}, cut("the header")
	}
	if v := data[4]; v != '7' && v != '9' {
		return header{}, reject(pipeline.Unsupported, "version %q", data[3:6])
	}
	w := gifWalk{rest: data[screen:], transparent: -1}
	w.Width, w.Height = int(binary.LittleEndian.Uint16(data[6:])), int(binary.LittleEndian.Uint16(data[8:]))
	for i := range w.palette { // what Pillow shows for colours that no table defines
		w.palette[i] = [3]byte{byte(i), byte(i), byte(i)}
	}
	if err := w.colors(data[10], &w.palette); err != nil {
		return w.header, err
	}
	for {
		if err := w.block(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return w.header, err
		}
	}
	if w.gif == nil {
		return w.header, cut("front of the first frame")
	}
	return w.header, nil
}

// take removes the next n bytes.
func (w *gifWalk) take(n int, what string) ([]byte, error) {
	if len(w.rest) < n {
		return nil, cut(what)
	}
	b := w.rest[:n]
	w.rest = w.rest[n:]
	return b, nil
}

// block reads one block; io.EOF is the trailer, or the end of the data between two blocks.
func (w *gifWalk) block() error {
	b, err := w.take(1, "")
	if err != nil {
		return io.EOF
	}
	switch b[0] {
	case '!':
		return w.extension()
	case ',':
		return w.image()
	case ';':
		return io.EOF
	case 0: // padding, which some writers leave behind
		return nil
	}
	if w.gif != nil { // the picture is whole; what follows is not GIF
		return io.EOF
	}
	return reject(pipeline.Unreadable, "a block of kind %#02x", b[0])
}

func (w *gifWalk) extension() error {
	const graphicControl = 0xF9
	label, err := w.take(1, "an extension")
	if err != nil {
		return err
	}
	body, err := w.subBlocks()
	if err != nil {
		return err
	}
	if label[0] == graphicControl && len(body) >= 5 && body[0] >= 4 && body[1]&1 != 0 {
		w.transparent = int(body[4])
	}
	return nil
}

// subBlocks takes a chain of sub-blocks, their lengths and the closing zero included.
func (w *gifWalk) subBlocks() ([]byte, error) {
	for n := 0; n < len(w.rest); {
		size := int(w.rest[n])
		n += 1 + size
		if size == 0 {
			return w.take(n, "")
		}
	}
	return nil, cut("a block")
}

// colors reads a colour table where flags announce one.
func (w *gifWalk) colors(flags byte, palette *[256][3]byte) error {
	if flags&0x80 == 0 {
		return nil
	}
	n := 2 << (flags & 7)
	table, err := w.take(3*n, "a colour table")
	if err != nil {
		return err
	}
	for i := range n {
		palette[i] = [3]byte(table[3*i:])
	}
	return nil
}

func (w *gifWalk) image() error {
	b, err := w.take(9, "a frame's header")
	if err != nil {
		return err
	}
	u16 := func(i int) int { return int(binary.LittleEndian.Uint16(b[i:])) }
	f := gifFrame{x: u16(0), y: u16(2), width: u16(4), height: u16(6), interlaced: b[8]&0x40 != 0,
		transparent: w.transparent, palette: w.palette}
	if err := w.colors(b[8], &f.palette); err != nil {
		return err
	}
	size, err := w.take(1, "a frame's header")
	if err != nil {
		return err
	}
	f.codeSize = int(size[0])
	if f.blocks, err = w.subBlocks(); err != nil || w.gif != nil {
		return err
	}
	if f.codeSize < 2 || f.codeSize > 8 {
		return reject(pipeline.Unreadable, "codes of %d bits", f.codeSize)
	}
	if f.width == 0 || f.height == 0 {
		return reject(pipeline.Empty, "a frame of %d×%d pixels", f.width, f.height)
	}
	// As in Pillow, a frame that reaches beyond the screen makes it larger.
	w.Width, w.Height = max(w.Width, f.x+f.width), max(w.Height, f.y+f.height)
	w.gif = &f
	return nil
}

// gifRows is after how many rows the clock is looked at.
const gifRows = 16

// draw paints the frame on a canvas of width×height RGB pixels. Transparent pixels are background; so
// is what the frame leaves free, or colour 0 if nothing is transparent, as in Pillow. late is asked now
// and then whether to give up.
func (f *gifFrame) draw(canvas []byte, width int, background [3]byte, late func() bool) error {
	colors := f.palette
	free := colors[0]
	if f.transparent >= 0 {
		colors[f.transparent], free = background, background
	}
	for i := 0; i < len(canvas); i += 3 {
		copy(canvas[i:i+3], free[:])
	}
	pixels := lzw.NewReader(&subBlockReader{rest: f.blocks}, lzw.LSB, f.codeSize)
	defer pixels.Close()
	line := make([]byte, f.width)
	for i := range f.height {
		if i%gifRows == 0 && late() {
			return reject(pipeline.TimedOut, "over the time limit")
		}
		if _, err := io.ReadFull(pixels, line); err != nil {
			return gifReject(err)
		}
		at := ((f.y+f.row(i))*width + f.x) * 3
		for _, c := range line {
			copy(canvas[at:at+3], colors[c][:])
			at += 3
		}
	}
	return nil
}

// row is where the i-th stored row belongs.
func (f *gifFrame) row(i int) int {
	if !f.interlaced {
		return i
	}
	for _, pass := range [4]struct{ first, step int }{{0, 8}, {4, 8}, {2, 4}, {1, 2}} {
		n := (f.height - pass.first + pass.step - 1) / pass.step
		if i < n {
			return pass.first + i*pass.step
		}
		i -= max(n, 0)
	}
	return f.height - 1 // not reached: the passes hold height rows
}

func gifReject(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cut("the pixels")
	}
	return reject(pipeline.Unreadable, "pixels: %w", err)
}

// subBlockReader reads the contents of a chain of sub-blocks.
type subBlockReader struct {
	rest []byte
	left int // of the current sub-block
}

func (r *subBlockReader) ReadByte() (byte, error) {
	if r.left == 0 {
		if len(r.rest) == 0 || r.rest[0] == 0 {
			return 0, io.EOF
		}
		r.left, r.rest = int(r.rest[0]), r.rest[1:]
	}
	b := r.rest[0]
	r.rest, r.left = r.rest[1:], r.left-1
	return b, nil
}

// Read is there for io.Reader; the LZW decoder reads bytes.
func (r *subBlockReader) Read(p []byte) (int, error) {
	for i := range p {
		b, err := r.ReadByte()
		if err != nil {
			return i, err
		}
		p[i] = b
	}
	return len(p), nil
}
