package hostile

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/facet-search/facet/pipeline"
)

const signature = "\x89PNG\r\n\x1a\n"

// chunk is one of a PNG's, with its checksum.
func chunk(kind string, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	b = append(append(b, kind...), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// ihdr is a PNG's header.
func ihdr(width, height uint32, depth, color, interlace byte) []byte {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height)
	return chunk("IHDR", append(b, depth, color, 0, 0, interlace)...)
}

// png is a file of these chunks and an end.
func png(chunks ...[]byte) []byte {
	return bytes.Join([][]byte{[]byte(signature), bytes.Join(chunks, nil), chunk("IEND")}, nil)
}

// zeros is n zero bytes, compressed.
func zeros(n int) []byte {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(make([]byte, n)) // a buffer takes everything
	_ = w.Close()
	return z.Bytes()
}

// chunks walks a sound PNG: the offsets at which chunks begin, and the end.
func chunks(b []byte) []int {
	at := []int{len(signature)}
	for i := len(signature); i < len(b); {
		i += 12 + int(binary.BigEndian.Uint32(b[i:]))
		at = append(at, i)
	}
	return at
}

// find is where the first chunk of a kind begins.
func find(b []byte, kind string) int {
	i := bytes.Index(b, []byte(kind))
	if i < 4 {
		panic("the fixture has no chunk " + kind)
	}
	return i - 4
}

// pngCuts ends PNGs before every chunk, in its head, its body and its checksum.
func (c *corpus) pngCuts() {
	for _, name := range []string{"rgb8.png", "palette8alpha.png", "interlaced.png", "luggage.png"} {
		at := chunks(c.good[name])
		done := map[int]bool{}
		for i, from := range at[:len(at)-1] {
			for _, n := range []int{from, from + 2, from + 4, from + 8, (from + at[i+1]) / 2, at[i+1] - 2} {
				if !done[n] {
					c.cut(name, n, pipeline.Truncated)
				}
				done[n] = true
			}
		}
	}
}

func (c *corpus) pngs() {
	base, palette, gray := c.good["rgb8.png"], c.good["palette8.png"], c.good["gray8.png"]
	head, rest := base[:33], base[33:]
	put := func(k ...[]byte) []byte { return bytes.Join([][]byte{head, bytes.Join(k, nil), rest}, nil) }
	data := find(base, "IDAT")
	megabytes := zeros(4 << 20)
	text := append([]byte("k\x00\x00"), megabytes...)
	for name, k := range map[string]Case{
		"bomb":               {Data: png(ihdr(30000, 30000, 8, 2, 0), chunk("IDAT", zeros(1<<20)...)), Want: pipeline.TooLarge},
		"bomb-interlaced":    {Data: png(ihdr(30000, 30000, 1, 0, 1), chunk("IDAT", zeros(1<<20)...)), Want: pipeline.TooLarge},
		"bomb-wide":          {Data: png(ihdr(70000, 1, 8, 0, 0), chunk("IDAT", zeros(70001)...)), Want: pipeline.TooLarge},
		"bomb-2-31":          {Data: png(ihdr(1<<31-1, 1<<31-1, 8, 2, 0), chunk("IDAT", zeros(99)...)), Want: pipeline.TooLarge},
		"negative":           {Data: png(ihdr(1<<31, 10, 8, 2, 0), chunk("IDAT", zeros(99)...)), Want: pipeline.TooLarge},
		"no-columns":         {Data: png(ihdr(0, 10, 8, 2, 0), chunk("IDAT", zeros(99)...)), Want: pipeline.Empty},
		"no-rows":            {Data: png(ihdr(10, 0, 8, 2, 0), chunk("IDAT", zeros(99)...)), Want: pipeline.Empty},
		"large-flat":         {Data: png(ihdr(4000, 4000, 1, 0, 0), chunk("IDAT", zeros(4000*501)...))},
		"large-interlaced":   {Data: png(ihdr(2000, 2000, 1, 0, 1), chunk("IDAT", zeros(2000*260)...))},
		"thin":               {Data: png(ihdr(60000, 1, 8, 2, 0), chunk("IDAT", zeros(180001)...))},
		"tall":               {Data: png(ihdr(1, 60000, 8, 2, 0), chunk("IDAT", zeros(4*60000)...))},
		"too-few-rows":       {Data: png(ihdr(29, 40, 8, 2, 0), chunk("IDAT", zeros(20*88)...)), Want: pipeline.Truncated},
		"too-many-rows":      {Data: png(ihdr(29, 10, 8, 2, 0), chunk("IDAT", zeros(20*88)...)), Want: Either},
		"idat-bomb":          {Data: png(ihdr(29, 19, 8, 2, 0), chunk("IDAT", megabytes...)), Want: Either},
		"filter-5":           {Data: png(ihdr(3, 1, 8, 0, 0), chunk("IDAT", squeezed(5, 1, 2, 3)...)), Want: pipeline.Unreadable},
		"no-idat":            {Data: png(head[8:]), Want: pipeline.Unreadable},
		"empty-idats":        {Data: put(bytes.Repeat(chunk("IDAT"), 10000)), Like: "rgb8.png"},
		"idat-no-zlib":       {Data: png(ihdr(3, 1, 8, 0, 0), chunk("IDAT", 1, 2, 3, 4, 5, 6)), Want: pipeline.Unreadable},
		"depth-3":            {Data: png(ihdr(29, 19, 3, 0, 0), rest), Want: pipeline.Unreadable},
		"colour-5":           {Data: png(ihdr(29, 19, 8, 5, 0), rest), Want: pipeline.Unreadable},
		"interlace-2":        {Data: png(ihdr(29, 19, 8, 2, 2), rest), Want: pipeline.Unreadable},
		"palette-missing":    {Data: png(ihdr(3, 1, 8, 3, 0), chunk("IDAT", squeezed(0, 1, 2, 3)...)), Want: pipeline.Unreadable},
		"palette-too-short":  {Data: png(ihdr(3, 1, 8, 3, 0), chunk("PLTE", 1, 2, 3), chunk("IDAT", squeezed(0, 1, 2, 3)...)), Want: Either},
		"palette-of-4":       {Data: png(ihdr(3, 1, 8, 3, 0), chunk("PLTE", 1, 2, 3, 4), chunk("IDAT", squeezed(0, 0, 0, 0)...)), Want: pipeline.Unreadable},
		"alphas-too-many":    {Data: inserted(palette, find(palette, "IDAT"), chunk("tRNS", make([]byte, 300)...)), Want: pipeline.Unreadable},
		"alphas-first":       {Data: inserted(palette, 33, chunk("tRNS", 0, 0, 0)), Want: pipeline.Unreadable},
		"crc-critical":       {Data: patched(base, data+9, base[data+9]^1), Want: pipeline.Unreadable},
		"crc-header":         {Data: patched(base, 32, base[32]^1), Want: pipeline.Unreadable},
		"crc-palette":        {Data: patched(palette, find(palette, "PLTE")+9, palette[find(palette, "PLTE")+9]^1), Want: pipeline.Unreadable},
		"crc-ancillary":      {Data: patched(put(chunk("tEXt", []byte("a\x00bc")...)), 33+11, 'x'), Want: pipeline.Unreadable},
		"crc-end":            {Data: patched(base, len(base)-1, base[len(base)-1]^1), Want: pipeline.Unreadable},
		"unknown-vital":      {Data: put(chunk("WHAT", 1)), Want: pipeline.Unsupported},
		"unknown-aside":      {Data: put(chunk("whAT", 1)), Like: "rgb8.png"},
		"two-headers":        {Data: put(head[8:]), Want: pipeline.Unreadable},
		"header-later":       {Data: png(chunk("tEXt", 'a', 0), head[8:], rest), Want: pipeline.Unreadable},
		"chunk-of-4gb":       {Data: put([]byte("\xff\xff\xff\xfftEXt")), Want: pipeline.Truncated},
		"zTXt-bomb":          {Data: put(chunk("zTXt", text...)), Like: "rgb8.png"},
		"iCCP-bomb":          {Data: put(chunk("iCCP", text...)), Like: "rgb8.png"},
		"iTXt-bomb":          {Data: put(chunk("iTXt", append([]byte("k\x00\x01\x00\x00\x00"), megabytes...)...)), Like: "rgb8.png"},
		"text-large":         {Data: put(chunk("tEXt", make([]byte, 3<<20)...)), Like: "rgb8.png"},
		"gamma-0":            {Data: put(chunk("gAMA", 0, 0, 0, 0)), Like: "rgb8.png"},
		"eXIf-circle":        {Data: put(chunk("eXIf", exif(8, orientation(1))[10:]...)), Like: "rgb8.png"},
		"apng":               {Data: apng(base), Like: "rgb8.png"},
		"apng-frames-2-31":   {Data: put(chunk("acTL", 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0)), Like: "rgb8.png"},
		"carriage-returns":   {Data: bytes.ReplaceAll(base, []byte("\r\n"), []byte("\n")), Want: pipeline.Unsupported},
		"transparent-rgb":    {Data: inserted(base, data, chunk("tRNS", 0, 20, 0, 20, 0, 20))},
		"alphas-of-no-color": {Data: png(ihdr(3, 1, 8, 3, 0), chunk("PLTE", 1, 2, 3, 4, 5, 6), chunk("tRNS", 0, 9, 9), chunk("IDAT", squeezed(0, 0, 1, 0)...)), Want: pipeline.Unreadable},
		"transparent-rgba":   {Data: inserted(c.good["rgba8.png"], 33, chunk("tRNS", 0, 20, 0, 20, 0, 20)), Like: "rgba8.png"},
		"transparent-rgb-3":  {Data: inserted(base, data, chunk("tRNS", 20, 20, 20)), Want: pipeline.Unreadable},
		"transparent-gray-1": {Data: inserted(gray, find(gray, "IDAT"), chunk("tRNS", 20)), Want: pipeline.Unreadable},
		"transparent-gray-6": {Data: inserted(gray, find(gray, "IDAT"), chunk("tRNS", 0, 20, 0, 20, 0, 20)), Want: pipeline.Unreadable},
		"transparent-twice":  {Data: inserted(gray, find(gray, "IDAT"), append(chunk("tRNS", 0, 20), chunk("tRNS", 0, 21)...)), Want: pipeline.Unreadable},
		"transparent-late":   {Data: inserted(gray, len(gray)-12, chunk("tRNS", 0, 20)), Want: pipeline.Unreadable},
		"palette-twice":      {Data: inserted(palette, find(palette, "PLTE"), chunk("PLTE", 1, 2, 3)), Want: Either},
		"palette-late":       {Data: png(ihdr(3, 1, 8, 3, 0), chunk("IDAT", squeezed(0, 0, 0, 0)...), chunk("PLTE", 1, 2, 3)), Want: pipeline.Unreadable},
		"palette-of-rgb":     {Data: inserted(base, data, chunk("PLTE", 1, 2, 3)), Like: "rgb8.png"},
		"background":         {Data: inserted(base, data, chunk("bKGD", 0, 1, 0, 2, 0, 3)), Like: "rgb8.png"},
		"transparent-beyond": {Data: inserted(base, data, chunk("tRNS", 1, 20, 0, 20, 0, 20)), Want: Either},
	} {
		c.like("png-"+name+".png", k.Data, k.Want, k.Like)
	}
}

// squeezed compresses bytes as they are.
func squeezed(b ...byte) []byte {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(b) // a buffer takes everything
	_ = w.Close()
	return z.Bytes()
}

// apng makes the picture the first of two frames.
func apng(b []byte) []byte {
	at := find(b, "IDAT")
	end := at + 12 + int(binary.BigEndian.Uint32(b[at:]))
	frame := func(n byte) []byte {
		body := append([]byte{0, 0, 0, n}, b[16:24]...)
		return chunk("fcTL", append(body, make([]byte, 14)...)...)
	}
	second := chunk("fdAT", append([]byte{0, 0, 0, 2}, zeros(19*88)...)...)
	b = inserted(b, end, append(frame(1), second...))
	return inserted(b, at, append(chunk("acTL", 0, 0, 0, 2, 0, 0, 0, 0), frame(0)...))
}

// String makes a case readable in messages.
func (k Case) String() string { return fmt.Sprintf("%s (%d bytes)", k.Name, len(k.Data)) }
