package imaging

import (
	"bytes"
	"encoding/binary"

	"github.com/facet-search/facet/pipeline"
)

// JPEG markers, ITU T.81 table B.1.
const (
	markSOF0 = 0xC0 // baseline
	markSOF2 = 0xC2 // progressive
	markDHT  = 0xC4
	markJPG  = 0xC8
	markSOF9 = 0xC9 // sequential, arithmetic
	markSOFA = 0xCA // progressive, arithmetic
	markDAC  = 0xCC
	markSOI  = 0xD8
	markEOI  = 0xD9
	markSOS  = 0xDA
	markAPP1 = 0xE1
)

// jpegWalk goes through a JPEG's segments, without decoding any, to learn what the pixels will cost and
// whether they are all there.
type jpegWalk struct {
	header
	data        []byte
	progressive bool
	arithmetic  bool
	components  []byte       // ids, in the frame's order
	missing     [4][64]uint8 // bits still to come of each component's coefficients
}

// unsent marks a coefficient of which no scan has told anything yet.
const unsent = 255

func parseJPEG(data []byte) (header, error) {
	w := jpegWalk{data: data}
	for at := 2; ; {
		marker, next := w.marker(at)
		if next < 0 || marker == markEOI {
			return w.header, w.complete()
		}
		if marker <= 1 || marker >= 0xD0 && marker <= markSOI { // no segment: stuffing, RSTn, SOI
			if marker == markSOI {
				return w.header, reject(pipeline.Unreadable, "a second start of image")
			}
			at = next
			continue
		}
		if len(data)-next < 2 {
			return w.header, cut("a segment")
		}
		size := int(binary.BigEndian.Uint16(data[next:]))
		if size < 2 {
			return w.header, reject(pipeline.Unreadable, "a segment of length %d", size)
		}
		if len(data)-next < size {
			return w.header, cut("a segment")
		}
		if err := w.segment(marker, data[next+2:next+size]); err != nil {
			return w.header, err
		}
		at = next + size
	}
}

// marker finds the next marker from at on and where its contents begin; -1 if there is none.
func (w *jpegWalk) marker(at int) (marker byte, next int) {
	for {
		i := bytes.IndexByte(w.data[at:], 0xFF)
		if i < 0 {
			return 0, -1
		}
		at += i
		for at < len(w.data) && w.data[at] == 0xFF { // fill bytes
			at++
		}
		if at == len(w.data) {
			return 0, -1
		}
		if m := w.data[at]; m != 0 {
			return m, at + 1
		}
	}
}

func (w *jpegWalk) segment(marker byte, body []byte) error {
	switch {
	case marker == markSOS:
		return w.scan(body)
	case marker == markAPP1 && w.Orientation == 0 && bytes.HasPrefix(body, []byte("Exif\x00\x00")):
		w.Orientation = exifOrientation(body)
	case marker >= markSOF0 && marker <= 0xCF && marker != markDHT && marker != markJPG && marker != markDAC:
		return w.frame(marker, body)
	}
	return nil
}

// frame reads a start of frame: precision, height, width, components.
func (w *jpegWalk) frame(marker byte, b []byte) error {
	if w.components != nil {
		return reject(pipeline.Unreadable, "a second frame")
	}
	if len(b) < 6 || len(b) < 6+3*int(b[5]) {
		return reject(pipeline.Unreadable, "a frame header of %d bytes", len(b))
	}
	w.Height, w.Width = int(binary.BigEndian.Uint16(b[1:])), int(binary.BigEndian.Uint16(b[3:]))
	w.progressive = marker == markSOF2 || marker == markSOFA
	w.arithmetic = marker >= markSOF9
	n := int(b[5])
	switch {
	case marker > markSOF2 && marker != markSOF9 && marker != markSOFA:
		return reject(pipeline.Unsupported, "coding process SOF%d", marker-markSOF0)
	case b[0] != 8:
		return reject(pipeline.Unsupported, "%d bits a sample", b[0])
	case n != 1 && n != 3 && n != 4:
		return reject(pipeline.Unsupported, "%d components", n)
	case w.Width == 0 || w.Height == 0:
		return reject(pipeline.Empty, "%d×%d pixels", w.Width, w.Height)
	}
	for c := range n {
		w.components = append(w.components, b[6+3*c])
		for k := range w.missing[c] {
			w.missing[c][k] = unsent
		}
	}
	return nil
}

// scan notes which coefficients a scan brings: components, spectral band, successive approximation.
func (w *jpegWalk) scan(b []byte) error {
	if w.components == nil {
		return reject(pipeline.Unreadable, "a scan before the frame")
	}
	w.scans++
	if len(b) < 1 || len(b) < 4+2*int(b[0]) {
		return reject(pipeline.Unreadable, "a scan header of %d bytes", len(b))
	}
	n := int(b[0])
	first, last, left := int(b[1+2*n]), int(b[2+2*n]), b[3+2*n]&15
	if !w.progressive {
		first, last, left = 0, 63, 0
	}
	if first > last || last > 63 {
		return reject(pipeline.Unreadable, "a scan of coefficients %d to %d", first, last)
	}
	for i := range n {
		c := bytes.IndexByte(w.components, b[1+2*i])
		if c < 0 {
			return reject(pipeline.Unreadable, "a scan of component %d, which the frame has not", b[1+2*i])
		}
		for k := first; k <= last; k++ {
			w.missing[c][k] = left
		}
	}
	return nil
}

// complete reports what is missing at the end. libjpeg shows a picture whose later scans are missing
// as a coarse or discoloured one, and says nothing.
func (w *jpegWalk) complete() error {
	if w.scans == 0 {
		return cut("the headers")
	}
	for c := range w.components {
		for k, m := range w.missing[c] {
			if m != 0 {
				return reject(pipeline.Truncated, "no scan completes coefficient %d of component %d", k, c)
			}
		}
	}
	// A block of the largest component takes at least two bits (DC and end of block).
	if blocks := int64(w.Width) * int64(w.Height) / 64; !w.arithmetic && int64(len(w.data))*4 < blocks/16 {
		return reject(pipeline.Truncated, "%d bytes are too few for %d×%d pixels", len(w.data), w.Width, w.Height)
	}
	return nil
}
