package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/facet-search/facet/pipeline"
)

// segment is a marker of a JPEG and what belongs to it, a scan's data included.
type segment struct {
	marker   byte
	from, to int // of the file
}

// segments walks a sound JPEG.
func segments(b []byte) (list []segment) {
	for at := 0; at+1 < len(b); {
		s := segment{marker: b[at+1], from: at, to: at + 2}
		if m := s.marker; m != 0xD8 && m != 0xD9 && (m < 0xD0 || m > 0xD7) {
			s.to += int(binary.BigEndian.Uint16(b[at+2:]))
		}
		for s.to+1 < len(b) && (b[s.to] != 0xFF || b[s.to+1] == 0) { // entropy-coded data
			s.to++
		}
		if s.to+1 == len(b) {
			s.to++
		}
		list = append(list, s)
		at = s.to
	}
	return list
}

// jpegCuts ends JPEGs before, in and behind every marker, and amid what follows it.
func (c *corpus) jpegCuts() {
	for _, name := range []string{"s420.jpg", "progressive.jpg", "restarts.jpg", "cmyk.jpg", "arithmetic.jpg"} {
		done := map[int]bool{0: true}
		for _, s := range segments(c.good[name]) {
			for _, at := range []int{s.from, s.from + 1, s.from + 2, (s.from + s.to) / 2} {
				want := pipeline.Truncated
				if s.marker == 0xD9 && name != "arithmetic.jpg" { // all of the picture is there, and can be seen to be
					want = ""
				}
				if !done[at] && at < len(c.good[name]) {
					c.cut(name, at, want)
				}
				done[at] = true
			}
		}
	}
}

// start is where the contents of the first segment of that marker begin.
func start(b []byte, marker byte) int {
	for _, s := range segments(b) {
		if s.marker == marker {
			return s.from + 4
		}
	}
	panic(fmt.Sprintf("the fixture has no marker %#x", marker))
}

// without takes the segments of a marker out.
func without(b []byte, marker byte) []byte {
	var out []byte
	for _, s := range segments(b) {
		if s.marker != marker {
			out = append(out, b[s.from:s.to]...)
		}
	}
	return out
}

// app is an application segment.
func app(marker byte, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{0xFF, marker}, uint16(len(body)+2)), body...)
}

// sized gives a JPEG's frame header another height and width.
func sized(b []byte, h, w uint16) []byte {
	var four []byte
	four = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(four, h), w)
	for _, s := range segments(b) {
		if s.marker >= 0xC0 && s.marker <= 0xCF && s.marker != 0xC4 {
			return patched(b, s.from+5, four...)
		}
	}
	panic("the fixture has no frame")
}

// repeated has the last scan again, so many times.
func repeated(b []byte, times int) []byte {
	list := segments(b)
	last := list[len(list)-2]
	return bytes.Join([][]byte{b[:last.to], bytes.Repeat(b[last.from:last.to], times), b[last.to:]}, nil)
}

func (c *corpus) jpegs() {
	base, progressive, cmyk, ycck := c.good["s420.jpg"], c.good["progressive.jpg"], c.good["cmyk.jpg"], c.good["ycck.jpg"]
	sof := start(base, 0xC0)
	for name, k := range map[string]Case{
		"bomb":              {Data: sized(base, 30000, 30000), Want: pipeline.TooLarge},
		"bomb-progressive":  {Data: sized(progressive, 30000, 30000), Want: pipeline.TooLarge},
		"bomb-arithmetic":   {Data: sized(c.good["arithmetic.jpg"], 30000, 30000), Want: pipeline.TooLarge},
		"bomb-wide":         {Data: sized(base, 1000, 65535), Want: pipeline.TooLarge},
		"claims-7000":       {Data: sized(base, 7000, 7000), Want: pipeline.Truncated},
		"no-rows":           {Data: sized(base, 0, 29), Want: pipeline.Empty},
		"no-columns":        {Data: sized(base, 19, 0), Want: pipeline.Empty},
		"taller":            {Data: sized(base, 64, 29), Want: pipeline.Unreadable},
		"12-bit":            {Data: patched(base, sof, 12), Want: pipeline.Unsupported},
		"16-bit":            {Data: patched(base, sof, 16), Want: pipeline.Unsupported},
		"lossless":          {Data: patched(base, sof-3, 0xC3), Want: pipeline.Unsupported},
		"hierarchical":      {Data: patched(base, sof-3, 0xC5), Want: pipeline.Unsupported},
		"jpeg-ls":           {Data: patched(base, sof-3, 0xF7), Want: pipeline.Unreadable},
		"2-components":      {Data: patched(base, sof+5, 2), Want: pipeline.Unsupported},
		"255-components":    {Data: patched(base, sof+5, 255), Want: pipeline.Unreadable},
		"no-quantisation":   {Data: without(base, 0xDB), Want: pipeline.Unreadable},
		"no-codes":          {Data: without(base, 0xC4), Want: Either}, // standard tables may stand in
		"no-frame":          {Data: without(base, 0xC0), Want: pipeline.Unreadable},
		"two-frames":        {Data: inserted(base, sof-4, base[sof-4:sof-4+19]), Want: pipeline.Unreadable},
		"two-starts":        {Data: append([]byte{0xFF, 0xD8}, base...), Want: pipeline.Unreadable},
		"scans-2000":        {Data: repeated(progressive, 2000), Want: pipeline.TooLarge},
		"scans-twice":       {Data: repeated(progressive, 1), Want: pipeline.Unreadable},
		"scans-baseline":    {Data: repeated(base, 50), Want: Either},
		"cut-and-closed":    {Data: append(bytes.Clone(base[:len(base)-40]), 0xFF, 0xD9), Want: pipeline.Unreadable},
		"sampling-0":        {Data: patched(base, sof+7, 0), Want: pipeline.Unreadable},
		"sampling-4x4":      {Data: patched(base, sof+7, 0x44), Want: Either},
		"segment-0":         {Data: inserted(base, 2, []byte{0xFF, 0xE5, 0, 0}), Want: pipeline.Unreadable},
		"segment-too-long":  {Data: inserted(base, 2, []byte{0xFF, 0xE5, 0xFF, 0xFF}), Want: pipeline.Truncated},
		"fill-bytes":        {Data: inserted(base, 2, bytes.Repeat([]byte{0xFF}, 500)), Like: "s420.jpg"},
		"comments":          {Data: inserted(base, 2, bytes.Repeat(app(0xFE, make([]byte, 60000)), 30)), Like: "s420.jpg"},
		"profile":           {Data: inserted(base, 2, app(0xE2, append([]byte("ICC_PROFILE\x00\x09\x01"), make([]byte, 900)...))), Like: "s420.jpg"},
		"cmyk-no-adobe":     {Data: without(cmyk, 0xEE)},
		"ycck-no-adobe":     {Data: without(ycck, 0xEE)},
		"rgb-no-adobe":      {Data: without(c.good["rgb.jpg"], 0xEE)},
		"adobe-7":           {Data: patched(c.good["rgb.jpg"], start(c.good["rgb.jpg"], 0xEE)+11, 7)},
		"adobe-short":       {Data: inserted(base, 2, app(0xEE, []byte("Adobe"))), Like: "s420.jpg"},
		"jfif-version-9":    {Data: patched(base, start(base, 0xE0)+5, 9, 9), Like: "s420.jpg"},
		"dnl-rows":          {Data: inserted(sized(base, 0, 29), len(base)-2, []byte{0xFF, 0xDC, 0, 4, 0, 19}), Want: pipeline.Empty},
		"sof9-of-huffman":   {Data: patched(base, sof-3, 0xC9), Want: Either},
		"restart-markers":   {Data: bytes.ReplaceAll(c.good["restarts.jpg"], []byte{0xFF, 0xD0}, []byte{0xFF, 0xD5}), Want: Either},
		"scan-of-no-frame":  {Data: patched(base, start(base, 0xDA)+1, 9), Want: pipeline.Unreadable},
		"entropy-all-ones":  {Data: entropy(base, 0xFE), Want: Either},
		"entropy-all-zeros": {Data: entropy(base, 0x00), Want: Either},
	} {
		c.like("jpeg-"+name+".jpg", k.Data, k.Want, k.Like)
	}
}

// entropy overwrites the coded data of the last scan.
func entropy(b []byte, with byte) []byte {
	list := segments(b)
	s := list[len(list)-2]
	b = bytes.Clone(b)
	for i := s.from + 2 + int(binary.BigEndian.Uint16(b[s.from+2:])); i < s.to; i++ {
		b[i] = with
	}
	return b
}
