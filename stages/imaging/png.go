package imaging

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/facet-search/facet/pipeline"
)

// parsePNG walks the chunks of a PNG, checks their checksums and that it ends with IEND.
func parsePNG(data []byte) (header, error) {
	const signature, overhead = 8, 12 // length, type and checksum
	var h header
	for at := signature; ; {
		rest := data[at:]
		if len(rest) < overhead {
			return h, cut("a chunk")
		}
		size, kind := int64(binary.BigEndian.Uint32(rest)), string(rest[4:8])
		if at == signature && (kind != "IHDR" || size != 13) {
			return h, reject(pipeline.Unreadable, "it begins with %d bytes of %q instead of its header", size, kind)
		}
		if size > int64(len(rest)-overhead) {
			return h, cut("chunk " + kind)
		}
		body, sum := rest[8:8+size], binary.BigEndian.Uint32(rest[8+size:])
		if crc32.ChecksumIEEE(rest[4:8+size]) != sum {
			return h, reject(pipeline.Unreadable, "wrong checksum of chunk %q", kind)
		}
		switch {
		case at == signature:
			h.Width, h.Height = clampInt(body), clampInt(body[4:])
		case kind == "eXIf":
			h.Orientation = exifOrientation(body)
		case kind == "IEND":
			return h, nil
		}
		at += overhead + int(size)
	}
}

// clampInt reads a big-endian number that is an int everywhere.
func clampInt(b []byte) int { return int(min(binary.BigEndian.Uint32(b), 1<<31-1)) }
