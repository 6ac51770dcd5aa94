package imaging

import (
	"encoding/binary"

	"github.com/facet-search/facet/pipeline"
)

// parseWebP walks the chunks of a RIFF container. Only data that are as long as they say are whole.
func parseWebP(data []byte) (header, error) {
	const riff, chunk, hasEXIF = 12, 8, 8
	var h header
	var flags byte // of the extended format
	size := int64(binary.LittleEndian.Uint32(data[4:])) + chunk
	whole := size <= int64(len(data))
	rest := data[riff:min(max(size, riff), int64(len(data)))]
	for len(rest) >= chunk {
		kind, n := string(rest[:4]), int64(binary.LittleEndian.Uint32(rest[4:]))
		body := rest[chunk:]
		if n > int64(len(body)) {
			whole, n = false, int64(len(body))
		}
		if h.Width == 0 {
			h.Width, h.Height = webpSize(kind, body[:n])
		}
		if kind == "VP8X" && n > 0 {
			flags = body[0]
		}
		if kind == "EXIF" && flags&hasEXIF != 0 && h.Orientation == 0 {
			h.Orientation = exifOrientation(body[:n])
		}
		rest = body[min(n+n&1, int64(len(body))):]
	}
	if !whole {
		return h, reject(pipeline.Truncated, "%d bytes of %d", len(data), size)
	}
	if h.Width == 0 {
		return h, reject(pipeline.Unreadable, "no image in the container")
	}
	return h, nil
}

// webpSize reads the width and height from a chunk that states them; zeros if it doesn't.
func webpSize(kind string, b []byte) (width, height int) {
	const bits14 = 1<<14 - 1
	switch {
	case kind == "VP8X" && len(b) >= 10:
		return 1 + uint24(b[4:]), 1 + uint24(b[7:])
	case kind == "VP8 " && len(b) >= 10:
		return int(binary.LittleEndian.Uint16(b[6:])) & bits14, int(binary.LittleEndian.Uint16(b[8:])) & bits14
	case kind == "VP8L" && len(b) >= 5:
		v := int(binary.LittleEndian.Uint32(b[1:]))
		return 1 + v&bits14, 1 + v>>14&bits14
	}
	return 0, 0
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
