package hostile

import (
	"bytes"
	"encoding/binary"
)

// field is an entry of an EXIF directory.
type field struct {
	tag, kind uint16
	count     uint32
	value     [4]byte
}

// orientation is the field as cameras write it.
func orientation(v uint16) field {
	return field{0x0112, 3, 1, [4]byte{byte(v >> 8), byte(v)}}
}

// exif is big-endian EXIF, in JPEG's segment, with one directory at offset 8 that says to go on at next.
func exif(next uint32, fields ...field) []byte {
	b := []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08")
	b = binary.BigEndian.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, f.tag), f.kind)
		b = append(binary.BigEndian.AppendUint32(b, f.count), f.value[:]...)
	}
	return app(0xE1, binary.BigEndian.AppendUint32(b, next))
}

// exifs tell lies about the orientation, or lead whoever follows them in circles.
func (c *corpus) exifs() {
	base := c.good["s420.jpg"]
	sub := field{0x8769, 4, 1, [4]byte{0, 0, 0, 8}} // the EXIF directory is this very one
	many := bytes.Repeat([]byte{0}, 12*5000)
	for name, segment := range map[string][]byte{
		"orientation-0":     exif(0, orientation(0)),
		"orientation-9":     exif(0, orientation(9)),
		"orientation-65535": exif(0, orientation(65535)),
		"of-no-values":      exif(0, field{0x0112, 3, 0, [4]byte{0, 6}}),
		"of-ascii":          exif(0, field{0x0112, 2, 2, [4]byte{'6', 0}}),
		"circle":            exif(8, orientation(1)),
		"circle-below":      exif(0, sub, orientation(1)),
		"beyond":            app(0xE1, []byte("Exif\x00\x00MM\x00*\xff\xff\xff\xff")),
		"short":             app(0xE1, []byte("Exif\x00\x00MM")),
		"no-directory":      app(0xE1, []byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08")),
		"no-tiff":           app(0xE1, []byte("Exif\x00\x00ZZ\x00*\x00\x00\x00\x08\x00\x00")),
		"claims-65535":      app(0xE1, append([]byte("Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff"), many...)),
		"empty":             app(0xE1, nil),
		"xmp":               app(0xE1, []byte("http://ns.adobe.com/xap/1.0/\x00<x:xmpmeta")),
	} {
		c.like("exif-"+name+".jpg", inserted(base, 2, segment), "", "s420.jpg")
	}
	for name, segment := range map[string][]byte{
		"6-and-circle":       exif(8, orientation(6)),
		"6-then-3":           append(exif(0, orientation(6)), exif(0, orientation(3))...),
		"6-twice":            exif(0, orientation(6), orientation(8)),
		"6-little-endian":    app(0xE1, []byte("Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00")),
		"6-as-byte":          exif(0, field{0x0112, 1, 1, [4]byte{6}}),
		"6-as-long":          exif(0, field{0x0112, 4, 1, [4]byte{0, 0, 0, 6}}),
		"6-as-signed":        exif(0, field{0x0112, 8, 1, [4]byte{0, 6}}),
		"6-as-signed-long":   exif(0, field{0x0112, 9, 1, [4]byte{0, 0, 0, 6}}),
		"6-as-directory":     exif(0, field{0x0112, 13, 1, [4]byte{0, 0, 0, 6}}),
		"-6-as-signed-long":  exif(0, field{0x0112, 9, 1, [4]byte{0xFF, 0xFF, 0xFF, 0xFA}}),
		"65542-as-long":      exif(0, field{0x0112, 4, 1, [4]byte{0, 1, 0, 6}}),
		"6-of-two-values":    exif(0, field{0x0112, 3, 2, [4]byte{0, 6, 0, 3}}),
		"6-behind-many":      exif(0, append(make([]field, 1000), orientation(6))...),
		"6-with-sony-prefix": app(0xE1, []byte("Exif\x00\xffMM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00")),
	} {
		c.add("exif-"+name+".jpg", inserted(base, 2, segment), "")
	}
}
