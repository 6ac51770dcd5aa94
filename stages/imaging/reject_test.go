package imaging

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/jpeg"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/facet-search/facet/internal/hostile"
	"github.com/facet-search/facet/pipeline"
)

// small is a preprocessing under which a few pixels are computed.
func small() pipeline.Preprocess {
	return golden{Resize: "stretch", Size: [2]int{5, 6}, Filter: "bilinear", Orientation: "apply"}.preprocess()
}

// patched is a copy of b with some bytes replaced.
func patched(b []byte, at int, with ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], with)
	return b
}

// after is the index behind the first occurrence of s.
func after(t testing.TB, b []byte, s string) int {
	t.Helper()
	i := bytes.Index(b, []byte(s))
	if i < 0 {
		t.Fatalf("no %q in the fixture", s)
	}
	return i + len(s)
}

// sealed renews the checksum of a PNG's header.
func sealed(png []byte) []byte {
	binary.BigEndian.PutUint32(png[29:], crc32.ChecksumIEEE(png[12:29]))
	return png
}

// withChunk puts a chunk behind a PNG's header.
func withChunk(png []byte, kind string, body []byte) []byte {
	c := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	c = append(append(c, kind...), body...)
	c = binary.BigEndian.AppendUint32(c, crc32.ChecksumIEEE(c[4:]))
	return bytes.Join([][]byte{png[:33], c, png[33:]}, nil)
}

// scansOf cuts a JPEG into what comes before its first scan and the scans, end of image excluded.
func scansOf(jpeg []byte) (head []byte, scans [][]byte) {
	parts := bytes.Split(bytes.TrimSuffix(jpeg, []byte{0xFF, markEOI}), []byte{0xFF, markSOS})
	for _, p := range parts[1:] {
		scans = append(scans, append([]byte{0xFF, markSOS}, p...))
	}
	return parts[0], scans
}

func TestRejects(t *testing.T) {
	jpeg, png, gif := fixture(t, "s420.jpg"), fixture(t, "rgb8.png"), fixture(t, "plain.gif")
	progressive, animated := fixture(t, "progressive.jpg"), fixture(t, "animated.webp")
	sof := after(t, jpeg, "\xff\xc0")
	head, scans := scansOf(progressive)
	end := []byte{0xFF, markEOI}
	bomb := bytes.Join([][]byte{progressive[:len(progressive)-2], bytes.Repeat(scans[len(scans)-1], 2000), end}, nil)
	cases := map[string]struct {
		data []byte
		want pipeline.Reason
	}{
		"no bytes":                         {nil, pipeline.Empty},
		"zeros":                            {make([]byte, 4096), pipeline.Unsupported},
		"a page named .jpg":                {[]byte("<!DOCTYPE html><html><body>404"), pipeline.Unsupported},
		"BMP":                              {[]byte("BM\x00\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00"), pipeline.Unsupported},
		"two bytes of JPEG":                {jpeg[:2], pipeline.Truncated},
		"five bytes of PNG":                {png[:5], pipeline.Truncated},
		"JPEG of 30,000²":                  {patched(jpeg, sof+3, 0x75, 0x30, 0x75, 0x30), pipeline.TooLarge},
		"JPEG of 0 rows":                   {patched(jpeg, sof+3, 0, 0), pipeline.Empty},
		"JPEG of 0 columns":                {patched(jpeg, sof+5, 0, 0), pipeline.Empty},
		"JPEG of 12 bits":                  {patched(jpeg, sof+2, 12), pipeline.Unsupported},
		"lossless JPEG":                    {patched(jpeg, sof-1, 0xC3), pipeline.Unsupported},
		"JPEG of 2 components":             {patched(jpeg, sof+7, 2), pipeline.Unsupported},
		"JPEG of 2,000 scans":              {bomb, pipeline.TooLarge},
		"JPEG too short for its 7,000²":    {patched(jpeg, sof+3, 0x1B, 0x58, 0x1B, 0x58), pipeline.Truncated},
		"JPEG of a later scan":             {bytes.Join([][]byte{head, scans[0], end}, nil), pipeline.Truncated},
		"JPEG without its last scan":       {bytes.Join([][]byte{head, bytes.Join(scans[:len(scans)-1], nil), end}, nil), pipeline.Truncated},
		"JPEG without scans":               {append(bytes.Clone(head), end...), pipeline.Truncated},
		"JPEG cut, with an end put on":     {append(bytes.Clone(jpeg[:len(jpeg)-20]), end...), pipeline.Unreadable},
		"JPEG with a second start":         {append([]byte{0xFF, 0xD8}, jpeg...), pipeline.Unreadable},
		"PNG of 30,000²":                   {sealed(patched(png, 16, 0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30)), pipeline.TooLarge},
		"PNG of 70,000×1":                  {sealed(patched(png, 16, 0, 1, 0x11, 0x70, 0, 0, 0, 1)), pipeline.TooLarge},
		"PNG of 2³¹ rows":                  {sealed(patched(png, 20, 0xFF, 0xFF, 0xFF, 0xFF)), pipeline.TooLarge},
		"PNG of 0 rows":                    {sealed(patched(png, 20, 0, 0, 0, 0)), pipeline.Empty},
		"PNG with more rows than data":     {sealed(patched(png, 20, 0, 0, 0, 40)), pipeline.Truncated},
		"PNG of a colour type of its own":  {sealed(patched(png, 25, 5)), pipeline.Unreadable},
		"PNG with a wrong checksum":        {patched(png, after(t, png, "IDAT")+3, 1, 2, 3), pipeline.Unreadable},
		"PNG with a wrong checksum aside":  {patched(fixture(t, "luggage.png"), after(t, fixture(t, "luggage.png"), "tEXt")+3, 7), pipeline.Unreadable},
		"PNG with an unknown vital chunk":  {withChunk(png, "WHAT", []byte("?")), pipeline.Unsupported},
		"PNG with two headers":             {withChunk(png, "IHDR", nil), pipeline.Unreadable},
		"WebP of 16,384²":                  {patched(animated, after(t, animated, "VP8X")+8, 0xFF, 0x3F, 0, 0xFF, 0x3F, 0), pipeline.TooLarge},
		"WebP frame beyond its canvas":     {patched(animated, after(t, animated, "ANMF")+4, 9), pipeline.Unreadable},
		"WebP with nothing in it":          {[]byte("RIFF\x04\x00\x00\x00WEBP"), pipeline.Unreadable},
		"GIF of 65,535²":                   {patched(gif, 6, 0xFF, 0xFF, 0xFF, 0xFF), pipeline.TooLarge},
		"GIF frame far out":                {patched(gif, after(t, gif, ",\x00\x00\x00\x00")-4, 0xFF, 0xFF, 0xFF, 0xFF), pipeline.TooLarge},
		"GIF without a frame":              {[]byte("GIF89a\x01\x00\x01\x00\x00\x00\x00;"), pipeline.Truncated},
		"GIF whose data end with its code": {[]byte("GIF89a\x09\x00\x09\x00\x00\x00\x00,\x00\x00\x00\x00\x09\x00\x09\x00\x00\x02\x02\x2c\x00\x00;"), pipeline.Truncated},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDecoder(t, small(), Options{})
			info, err := d.Decode(c.data, make([]byte, d.OutputBytes()))
			if got := reasonOf(t, err); got != c.want {
				t.Fatalf("%+v: reason %q (%v), want %q", info, got, err, c.want)
			}
			// Bombs end before anything is sized by what they claim.
			if c.want == pipeline.TooLarge && (d.x.filled != 0 || d.scratch != nil) {
				t.Error("rejected only after memory was taken for it")
			}
		})
	}
}

func TestLimits(t *testing.T) {
	progressive := fixture(t, "progressive.jpg")
	_, scans := scansOf(progressive)
	cases := map[string]struct {
		limits Limits
		want   pipeline.Reason
	}{
		"none given":      {Limits{}, ""},
		"just enough":     {Limits{Bytes: int64(len(progressive)), Pixels: 29 * 19, Scans: len(scans)}, ""},
		"a byte short":    {Limits{Bytes: int64(len(progressive)) - 1}, pipeline.TooLarge},
		"a pixel short":   {Limits{Pixels: 29*19 - 1}, pipeline.TooLarge},
		"a scan too many": {Limits{Scans: len(scans) - 1}, pipeline.TooLarge},
	}
	for name, c := range cases {
		d, err := NewDecoder(small(), c.limits, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Decode(progressive, make([]byte, d.OutputBytes())); reasonOf(t, err) != c.want {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if _, err := NewDecoder(small(), Limits{Pixels: -1}, Options{}); err == nil {
		t.Error("a negative limit was taken")
	}
}

// libjpeg's own count of scans is watched too, should it ever see more of them than the walk did.
func TestNativeScanLimit(t *testing.T) {
	d, err := NewDecoder(small(), Limits{Scans: 2}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := header{Info: Info{Format: JPEG, Width: 29, Height: 19, Orientation: 1}}
	err = d.pixels(h, fixture(t, "progressive.jpg"), make([]byte, d.OutputBytes()))
	if reasonOf(t, err) != pipeline.TooLarge {
		t.Fatalf("%v, want too large", err)
	}
}

// Decoders share nothing: one a goroutine is all it takes. The race detector watches.
func TestDecodersInParallel(t *testing.T) {
	for range 4 {
		t.Run("worker", func(t *testing.T) {
			t.Parallel()
			for _, name := range fixtures(t) {
				whole := fixture(t, name)
				same(t, name, whole, whole)
			}
		})
	}
}

// A PNG's luggage, megabytes once unpacked, is not unpacked.
func TestPNGLuggageIsIgnored(t *testing.T) {
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	if _, err := w.Write(make([]byte, 8<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	png := fixture(t, "rgb8.png")
	loaded := withChunk(png, "iCCP", append([]byte("p\x00\x00"), z.Bytes()...))
	loaded = withChunk(loaded, "zTXt", append([]byte("k\x00\x00"), z.Bytes()...))
	loaded = withChunk(loaded, "tEXt", make([]byte, 4<<20))
	same(t, "luggage", loaded, png)
}

// same fails unless both files decode to the same pixels.
func same(t *testing.T, name string, a, b []byte) {
	t.Helper()
	d := newDecoder(t, small(), Options{})
	pa, pb := make([]byte, d.OutputBytes()), make([]byte, d.OutputBytes())
	if _, err := d.Decode(a, pa); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if _, err := d.Decode(b, pb); err != nil || !bytes.Equal(pa, pb) {
		t.Fatalf("%s: other pixels (%v)", name, err)
	}
}

func TestWhatFollowsThePictureIsNotMissed(t *testing.T) {
	for _, name := range []string{"s420.jpg", "progressive.jpg", "rgb8.png", "lossy.webp", "plain.gif"} {
		whole := fixture(t, name)
		same(t, name+" and trailing bytes", append(bytes.Clone(whole), "<!-- cache -->"...), whole)
	}
	for name, n := range map[string]int{"s420.jpg": 2, "progressive.jpg": 2, "plain.gif": 1} {
		whole := fixture(t, name)
		same(t, name+" without its end marker", whole[:len(whole)-n], whole)
	}
}

// Cut anywhere, an image is rejected, or it was only the end marker that is missing and the pixels are
// the whole image's.
func TestTruncationAnywhere(t *testing.T) {
	for _, name := range fixtures(t) {
		whole := fixture(t, name)
		d := newDecoder(t, golden{Resize: "stretch", Size: [2]int{19, 29}, Filter: "bilinear", Orientation: "ignore"}.preprocess(), Options{})
		want, got := make([]byte, d.OutputBytes()), make([]byte, d.OutputBytes())
		if _, err := d.Decode(whole, want); err != nil {
			t.Fatal(err)
		}
		for n := 1; n < len(whole); n++ {
			_, err := d.Decode(whole[:n], got)
			if err == nil && bytes.Equal(got, want) && (formatOf(name) == JPEG || formatOf(name) == GIF) {
				continue
			}
			if reason := reasonOf(t, err); reason != pipeline.Truncated {
				t.Errorf("%s cut at %d of %d: %v", name, n, len(whole), err)
				break
			}
		}
	}
}

// Flipped bits never crash a decoder, and a PNG's checksums find every one.
func TestBitFlips(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	d := newDecoder(t, small(), Options{})
	dst := make([]byte, d.OutputBytes())
	for _, name := range fixtures(t) {
		whole := fixture(t, name)
		for range 400 {
			bad := bytes.Clone(whole)
			bad[r.IntN(len(bad))] ^= 1 << r.IntN(8)
			_, err := d.Decode(bad, dst)
			if reasonOf(t, err) == "" && formatOf(name) == PNG {
				t.Fatalf("%s: a flipped bit went unnoticed", name)
			}
		}
	}
}

func TestCallersMistakesAreNotTheImages(t *testing.T) {
	d := newDecoder(t, small(), Options{})
	_, err := d.Decode(fixture(t, "s420.jpg"), make([]byte, 7))
	if err == nil {
		t.Fatal("7 bytes were enough for 5×6 pixels")
	}
	if rejected := new(pipeline.Reject); errors.As(err, &rejected) {
		t.Fatalf("the image is blamed: %v", err)
	}
	if _, err := NewDecoder(pipeline.Preprocess{}, Limits{}, Options{}); err == nil {
		t.Fatal("an empty preprocessing was taken")
	}
	if _, err := NewDecoder(small(), Limits{}, Options{Kernel: 9}); err == nil {
		t.Fatal("an unknown kernel was taken")
	}
}

// Scratch memory of a large image is not kept for the small ones that follow.
func TestScratchIsGivenBack(t *testing.T) {
	d := newDecoder(t, small(), Options{})
	dst := make([]byte, d.OutputBytes())
	gif := fixture(t, "plain.gif")
	if _, err := d.Decode(patched(gif, 6, 0xD0, 0x07, 0xD0, 0x07), dst); err != nil { // 2,000²
		t.Fatal(err)
	}
	if d.scratch != nil {
		t.Errorf("%d bytes kept after a large image", cap(d.scratch))
	}
	if _, err := d.Decode(gif, dst); err != nil || d.scratch == nil {
		t.Errorf("a small image's scratch was dropped (%v)", err)
	}
}

// timed are pictures whose decoding takes long enough for the clock to be looked at.
func timed(t *testing.T) map[string][]byte {
	t.Helper()
	png, gif := fixture(t, "gray1.png"), fixture(t, "plain.gif")
	var large bytes.Buffer
	if err := jpeg.Encode(&large, image.NewGray(image.Rect(0, 0, 2000, 2000)), nil); err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"a JPEG":            large.Bytes(),
		"a PNG":             flat(png, 2000),
		"an interlaced PNG": flat(patched(png, 28, 1), 2000),
		"a WebP":            corpusFile(t, "webp-flat-4000.webp"),
		"a GIF":             patched(gif, 6, 0xD0, 0x07, 0xD0, 0x07),
	}
}

// corpusFile is one of the hostile images.
func corpusFile(t *testing.T, name string) []byte {
	t.Helper()
	cases, err := corpus()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(cases, func(c hostile.Case) bool { return c.Name == name })
	return cases[i].Data
}

// flat gives a PNG of one bit a pixel another size and no content.
func flat(png []byte, side int) []byte {
	head := bytes.Clone(png[:33])
	binary.BigEndian.PutUint32(head[16:], uint32(side))
	binary.BigEndian.PutUint32(head[20:], uint32(side))
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write(make([]byte, side*(side/8+16))) // a buffer takes everything
	_ = w.Close()
	return append(withChunk(sealed(head), "IDAT", z.Bytes()), png[len(png)-12:]...)
}

// An image that has had its time is rejected, and the decoder stops amid it; the same one is decoded
// where there is time.
func TestTimeLimit(t *testing.T) {
	for name, data := range timed(t) {
		for limit, want := range map[time.Duration]pipeline.Reason{1: pipeline.TimedOut, 0: ""} {
			d, err := NewDecoder(small(), Limits{Time: limit}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Decode(data, make([]byte, d.OutputBytes())); reasonOf(t, err) != want {
				t.Errorf("%s within %v: %v, want %q", name, limit, err, want)
			}
		}
	}
}
