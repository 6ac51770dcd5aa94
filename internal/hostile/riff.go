package hostile

import (
	"bytes"
	"encoding/binary"

	"github.com/facet-search/facet/pipeline"
)

// riff is a chunk of a WebP, padded to an even length.
func riff(kind string, body ...byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(kind), uint32(len(body)))
	b = append(b, body...)
	return append(b, make([]byte, len(body)&1)...)
}

// webp is a file of these chunks.
func webp(chunks ...[]byte) []byte {
	return riff("RIFF", append([]byte("WEBP"), bytes.Join(chunks, nil)...)...)
}

// bits collects numbers, the lowest bit first.
type bits struct {
	b []byte
	n int
}

func (w *bits) put(v, n int) {
	for ; n > 0; n, v = n-1, v>>1 {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v&1) << (w.n % 8)
		w.n++
	}
}

// flat is a lossless picture of one colour, which takes no bit a pixel: 20 bytes for any size.
func flat(width, height int) []byte {
	var w bits
	w.put(0x2F, 8)
	w.put(width-1, 14)
	w.put(height-1, 14)
	w.put(0, 1+3)   // no alpha, version 0
	w.put(0, 1+1+1) // no transform, no cache of colours, one group of codes
	for range 5 {   // each a code of one symbol, 0
		w.put(1, 1)
		w.put(0, 1+1+1)
	}
	return riff("VP8L", append(w.b, 0)...)
}

// webpCuts ends WebPs before every chunk, in its head and in its body.
func (c *corpus) webpCuts() {
	for _, name := range []string{"lossy.webp", "lossless.webp", "lossyalpha.webp", "exif8.webp", "animated.webp"} {
		b := c.good[name]
		for _, at := range []int{1, 4, 6, 8, 11} {
			c.cut(name, at, pipeline.Truncated)
		}
		for at := 12; at+8 <= len(b); {
			size := 8 + int(binary.LittleEndian.Uint32(b[at+4:]))
			size += size & 1
			for _, n := range []int{at, at + 3, at + 4, at + 8, at + size/2} {
				c.webpCut(name, n)
			}
			at += size
		}
		c.webpCut(name, len(b)-1)
	}
}

// webpCut cuts once at each place.
func (c *corpus) webpCut(name string, at int) {
	for _, k := range c.cases[max(0, len(c.cases)-60):] {
		if k.Like == name && len(k.Data) == at {
			return
		}
	}
	if at < len(c.good[name]) {
		c.cut(name, at, pipeline.Truncated)
	}
}

func (c *corpus) webps() {
	lossy, lossless, animated := c.good["lossy.webp"], c.good["lossless.webp"], c.good["animated.webp"]
	canvas := func(w, h int) []byte {
		return []byte{0, 0, 0, 0, byte(w - 1), byte((w - 1) >> 8), byte((w - 1) >> 16), byte(h - 1), byte((h - 1) >> 8), byte((h - 1) >> 16)}
	}
	screen, frame := bytes.Index(animated, []byte("VP8X")), bytes.Index(animated, []byte("ANMF"))
	for name, k := range map[string]Case{
		"bomb":              {Data: webp(flat(16383, 16383)), Want: pipeline.TooLarge},
		"bomb-30000":        {Data: webp(riff("VP8X", canvas(30000, 30000)...), lossy[12:]), Want: pipeline.TooLarge},
		"bomb-canvas":       {Data: webp(riff("VP8X", canvas(1<<24, 1<<24)...), lossy[12:]), Want: pipeline.TooLarge},
		"bomb-vp8":          {Data: patched(lossy, 26, 0xFF, 0x3F, 0xFF, 0x3F), Want: pipeline.TooLarge},
		"flat-4000":         {Data: webp(flat(4000, 4000))},
		"flat-1":            {Data: webp(flat(1, 1))},
		"two-sizes":         {Data: webp(riff("VP8X", canvas(40, 40)...), lossy[12:]), Want: pipeline.Unreadable},
		"frame-outside":     {Data: patched(animated, frame+8, 9), Want: pipeline.Unreadable},
		"canvas-smaller":    {Data: patched(animated, screen+12, 3, 0, 0, 3, 0, 0), Want: pipeline.Unreadable},
		"no-chunks":         {Data: webp(), Want: pipeline.Unreadable},
		"only-vp8x":         {Data: webp(riff("VP8X", canvas(20, 20)...)), Want: Either},
		"vp8-empty":         {Data: webp(riff("VP8 ")), Want: pipeline.Unreadable},
		"vp8l-empty":        {Data: webp(riff("VP8L")), Want: pipeline.Unreadable},
		"vp8-no-keyframe":   {Data: patched(lossy, 20, lossy[20]|1), Want: Either},
		"vp8-no-start":      {Data: patched(lossy, 23, 1, 2, 3), Want: Either},
		"vp8-zeros":         {Data: cleared(lossy, 40), Want: Either},
		"vp8l-zeros":        {Data: cleared(lossless, 30), Want: Either},
		"vp8l-version-7":    {Data: patched(lossless, 24, lossless[24]|0xE0), Want: Either},
		"riff-size-0":       {Data: patched(lossy, 4, 0, 0, 0, 0), Want: Either},
		"riff-size-4gb":     {Data: patched(lossy, 4, 0xFF, 0xFF, 0xFF, 0xFF), Want: pipeline.Truncated},
		"riff-size-odd":     {Data: patched(lossy, 4, lossy[4]+1), Want: pipeline.Truncated},
		"chunk-size-4gb":    {Data: patched(lossy, 16, 0xFF, 0xFF, 0xFF, 0xFF), Want: pipeline.Truncated},
		"unknown-chunk":     {Data: webp(lossy[12:], riff("JUNK", make([]byte, 500)...)), Like: "lossy.webp"},
		"alpha-no-data":     {Data: alphaless(c.good["lossyalpha.webp"]), Want: Either},
		"animation-of-0":    {Data: webp(animated[12:frame]), Want: Either},
		"profile-4000":      {Data: webp(lossy[12:], riff("ICCP", make([]byte, 4000)...)), Like: "lossy.webp"},
		"wave":              {Data: riff("RIFF", []byte("WAVEfmt ")...), Want: pipeline.Unsupported},
		"avi":               {Data: riff("RIFF", []byte("AVI LIST")...), Want: pipeline.Unsupported},
		"exif-circle":       {Data: webp(lossy[12:], riff("EXIF", exif(8, orientation(1))[10:]...)), Like: "lossy.webp"},
		"exif-undeclared":   {Data: webp(lossy[12:], riff("EXIF", exif(0, orientation(6))[10:]...))},
		"exif-unflagged":    {Data: webp(riff("VP8X", canvas(29, 19)...), lossy[12:], riff("EXIF", exif(0, orientation(6))[10:]...))},
		"exif-flagged":      {Data: webp(riff("VP8X", flagged(8, canvas(29, 19))...), lossy[12:], riff("EXIF", exif(0, orientation(6))[10:]...))},
		"exif-first":        {Data: webp(riff("VP8X", flagged(8, canvas(29, 19))...), riff("EXIF", exif(0, orientation(6))[10:]...), lossy[12:])},
		"exif-twice":        {Data: webp(riff("VP8X", flagged(8, canvas(29, 19))...), lossy[12:], riff("EXIF", exif(0, orientation(6))[10:]...), riff("EXIF", exif(0, orientation(3))[10:]...))},
		"lossless-as-vp8":   {Data: bytes.Replace(lossless, []byte("VP8L"), []byte("VP8 "), 1), Want: pipeline.Unreadable},
		"lossy-as-lossless": {Data: bytes.Replace(lossy, []byte("VP8 "), []byte("VP8L"), 1), Want: Either},
	} {
		c.like("webp-"+name+".webp", k.Data, k.Want, k.Like)
	}
}

// cleared has only zeros from an offset on.
func cleared(b []byte, from int) []byte {
	b = bytes.Clone(b)
	clear(b[from:])
	return b
}

// alphaless has its transparency overwritten.
func alphaless(b []byte) []byte {
	at := bytes.Index(b, []byte("ALPH"))
	b = bytes.Clone(b)
	clear(b[at+8 : at+8+int(binary.LittleEndian.Uint32(b[at+4:]))])
	return b
}

// flagged sets the flags of a canvas.
func flagged(flags byte, canvas []byte) []byte { return append([]byte{flags}, canvas[1:]...) }
