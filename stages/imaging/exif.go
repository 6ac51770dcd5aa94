package imaging

import (
	"bytes"
	"encoding/binary"
)

// exifOrientation reads the tag from EXIF data, with or without the prefix JPEG gives it: 1…8, or 0
// where nothing valid is said.
func exifOrientation(b []byte) int {
	const tag, entry = 0x0112, 12
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
		if v := exifNumber(order, e); v >= 1 && v <= 8 {
			return v
		}
		return 0
	}
	return 0
}

// exifNumber is the first number of an entry of whole ones, 0 if it holds none. Cameras write SHORT, the
// other types are what Pillow takes for it.
func exifNumber(order binary.ByteOrder, entry []byte) int {
	if order.Uint32(entry[4:]) == 0 {
		return 0
	}
	switch order.Uint16(entry[2:]) {
	case 3, 8: // SHORT, SSHORT
		return int(order.Uint16(entry[8:]))
	case 4, 9, 13: // LONG, SLONG, IFD
		return int(order.Uint32(entry[8:]))
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
