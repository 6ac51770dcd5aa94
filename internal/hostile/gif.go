package hostile

import (
	"bytes"
	"encoding/binary"

	"github.com/facet-search/facet/pipeline"
)

// blocks walks a sound GIF: the offsets of its blocks, and of the one behind the first frame.
func blocks(b []byte) (at []int, whole int) {
	i := 13
	if b[10]&0x80 != 0 {
		i += 3 * (2 << (b[10] & 7))
	}
	for i < len(b) {
		at = append(at, i)
		kind := b[i]
		switch kind {
		case '!':
			i += 2
		case ',':
			if b[i+9]&0x80 != 0 {
				i += 3 * (2 << (b[i+9] & 7))
			}
			i += 11
		default: // the trailer
			return at, whole
		}
		for ; b[i] != 0; i += 1 + int(b[i]) {
		}
		i++
		if kind == ',' && whole == 0 {
			whole = i
		}
	}
	return at, whole
}

// gifCuts ends GIFs before and in every block.
func (c *corpus) gifCuts() {
	for _, name := range []string{"plain.gif", "interlaced.gif", "transparent.gif", "animated.gif"} {
		b := c.good[name]
		for _, at := range []int{1, 3, 6, 10, 13, 20} {
			c.cut(name, at, pipeline.Truncated)
		}
		at, whole := blocks(b)
		for i, from := range at {
			want := pipeline.Truncated
			if from >= whole { // the picture is there, and no block begun
				want = ""
			}
			c.cut(name, from, want)
			if i+1 < len(at) {
				c.cut(name, from+1, pipeline.Truncated)
				c.cut(name, (from+at[i+1])/2, pipeline.Truncated)
			}
		}
	}
}

func (c *corpus) gifs() {
	base, animated := c.good["plain.gif"], c.good["animated.gif"]
	frame := bytes.Index(base, []byte(",\x00\x00\x00\x00"))
	codes := frame + 10 // without a table of its own
	resized := func(w, h uint16) []byte {
		return patched(base, 6, binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, w), h)...)
	}
	for name, k := range map[string]Case{
		"bomb":              {Data: resized(30000, 30000), Want: pipeline.TooLarge},
		"bomb-65535":        {Data: resized(65535, 65535), Want: pipeline.TooLarge},
		"bomb-frame":        {Data: patched(base, frame+5, 0x30, 0x75, 0x30, 0x75), Want: pipeline.TooLarge},
		"frame-far-out":     {Data: patched(base, frame+1, 0xFF, 0xFF, 0xFF, 0xFF), Want: pipeline.TooLarge},
		"huge-screen":       {Data: resized(3000, 2000)},
		"no-screen":         {Data: resized(0, 0), Like: "plain.gif"},
		"smaller-screen":    {Data: resized(3, 3), Want: Either},
		"frame-of-0":        {Data: patched(base, frame+5, 0, 0), Want: pipeline.Empty},
		"frame-larger":      {Data: patched(base, frame+5, 60, 0, 60, 0), Want: pipeline.Truncated},
		"no-frame":          {Data: append(bytes.Clone(base[:frame]), ';'), Want: pipeline.Truncated},
		"codes-of-1":        {Data: patched(base, codes, 1), Want: Either},
		"codes-of-0":        {Data: patched(base, codes, 0), Want: Either},
		"codes-of-12":       {Data: patched(base, codes, 12), Want: pipeline.Unreadable},
		"codes-of-255":      {Data: patched(base, codes, 255), Want: pipeline.Unreadable},
		"no-data":           {Data: append(bytes.Clone(base[:codes+1]), 0, ';'), Want: pipeline.Truncated},
		"codes-all-ones":    {Data: overwritten(base, codes, 0xFF), Want: Either},
		"codes-all-zeros":   {Data: overwritten(base, codes, 0x00), Want: Either},
		"version-88":        {Data: patched(base, 3, '8', '8', 'a'), Want: pipeline.Unsupported},
		"version-87":        {Data: patched(base, 3, '8', '7', 'a'), Like: "plain.gif"},
		"strange-block":     {Data: inserted(base, frame, []byte{0x77}), Want: Either},
		"zeros-between":     {Data: inserted(base, frame, make([]byte, 100)), Like: "plain.gif"},
		"comment-of-4mb":    {Data: inserted(base, frame, comment(4<<20)), Like: "plain.gif"},
		"loops-forever":     {Data: inserted(animated, bytes.IndexByte(animated, '!'), []byte("!\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")), Like: "animated.gif"},
		"control-too-long":  {Data: inserted(base, frame, []byte("!\xf9\x08\x01\x00\x00\x02\x00\x00\x00\x00\x00")), Want: Either},
		"control-too-short": {Data: inserted(base, frame, []byte("!\xf9\x01\x01\x00")), Like: "plain.gif"},
		"script":            {Data: append([]byte("GIF89a/*"), base[8:]...), Want: Either},
	} {
		c.like("gif-"+name+".gif", k.Data, k.Want, k.Like)
	}
}

// comment is an extension of n bytes.
func comment(n int) []byte {
	block := append([]byte{255}, bytes.Repeat([]byte{'x'}, 255)...)
	return append(append([]byte("!\xfe"), bytes.Repeat(block, n/255)...), 0)
}

// overwritten has other codes in the first block of its data.
func overwritten(b []byte, codes int, with byte) []byte {
	b = bytes.Clone(b)
	for i := range int(b[codes+1]) {
		b[codes+2+i] = with
	}
	return b
}
