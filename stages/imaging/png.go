package imaging

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/facet-search/facet/pipeline"
)

// pngWalk goes through a PNG's chunks.
type pngWalk struct {
	header
	color   byte // type
	palette int  // its length in bytes
	seen    map[string]bool
}

// parsePNG walks the chunks of a PNG, checks their checksums and that it ends with IEND.
func parsePNG(data []byte) (header, error) {
	const signature, overhead = 8, 12 // length, type and checksum
	w := pngWalk{seen: map[string]bool{}}
	for at := signature; ; {
		rest := data[at:]
		if len(rest) < overhead {
			return w.header, cut("a chunk")
		}
		size, kind := int64(binary.BigEndian.Uint32(rest)), string(rest[4:8])
		if at == signature && (kind != "IHDR" || size != 13) {
			return w.header, reject(pipeline.Unreadable, "it begins with %d bytes of %q instead of its header", size, kind)
		}
		if size > int64(len(rest)-overhead) {
			return w.header, cut("chunk " + kind)
		}
		body, sum := rest[8:8+size], binary.BigEndian.Uint32(rest[8+size:])
		if crc32.ChecksumIEEE(rest[4:8+size]) != sum {
			return w.header, reject(pipeline.Unreadable, "wrong checksum of chunk %q", kind)
		}
		if err := w.chunk(kind, body); err != nil || kind == "IEND" {
			return w.header, err
		}
		at += overhead + int(size)
	}
}

// chunk notes what matters of a chunk. What libspng itself refuses is left to it.
func (w *pngWalk) chunk(kind string, body []byte) (err error) {
	switch kind {
	case "IHDR":
		if !w.seen[kind] {
			w.Width, w.Height, w.color = clampInt(body), clampInt(body[4:]), body[9]
		}
	case "eXIf":
		w.Orientation = exifOrientation(body)
	case "PLTE":
		w.palette = len(body)
	case "tRNS":
		err = w.transparency(body)
	case "IDAT":
	default:
		return nil
	}
	w.seen[kind] = true
	return err
}

// transparency wants a tRNS that means something. libspng passes over any other, and shows what the
// picture hides.
func (w *pngWalk) transparency(body []byte) error {
	const gray, rgb, indexed = 0, 2, 3
	n, ok := len(body), false
	switch w.color {
	case gray:
		ok = n == 2
	case rgb:
		ok = n == 6
	case indexed:
		ok = w.seen["PLTE"] && n <= w.palette/3
	default: // there is an alpha channel
		return nil
	}
	if !ok || w.seen["tRNS"] || w.seen["IDAT"] {
		return reject(pipeline.Unreadable, "a transparency of %d bytes that does not fit, comes twice or too late", n)
	}
	return nil
}

// clampInt reads a big-endian number that is an int everywhere.
func clampInt(b []byte) int { return int(min(binary.BigEndian.Uint32(b), 1<<31-1)) }
