package imaging

import (
	"bytes"
	"encoding/binary"
)

// exifOrientation reads the tag from EXIF data, with or without the prefix JPEG gives it: 1…8, or 0
// where nothing valid is said.
func exifOrientation(b []byte) int {
	const tag, short, entry = 0x0112, 3, 12
	b = bytes.TrimPrefix(b, []byte("Exif\x00\x00"))
	order := byteOrder(b)
	if order == nil {
		return 0
	}
	at := uint64(order.Uint32(b[4:]))
	if at+2 > uint64(len(b)) {
		return 0
	}
	n := int(order.Uint16(b[at:]))
	for e := b[at+2:]; n > 0 && len(e) >= entry; n, e = n-1, e[entry:] {
		if order.Uint16(e) != tag {
			continue
		}
		if v := int(order.Uint16(e[8:])); order.Uint16(e[2:]) == short && v >= 1 && v <= 8 {
			return v
		}
		return 0
	}
	return 0
}

// byteOrder is the order that a TIFF header states, nil if b has none.
func byteOrder(b []byte) binary.ByteOrder {
	if len(b) < 8 {
		return nil
	}
	switch string(b[:4]) {
	case "II*\x00":
		return binary.LittleEndian
	case "MM\x00*":
		return binary.BigEndian
	}
	return nil
}
