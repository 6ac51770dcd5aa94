package imaging

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

// golden is one line of testdata/goldens.json, which testdata/goldens.py made with Pillow.
type golden struct {
	File        string   `json:"file"` // a fixture, or "WxH": noise of that size
	Resize      string   `json:"resize"`
	Size        [2]int   `json:"size"`
	Crop        [2]int   `json:"crop"`
	Filter      string   `json:"filter"`
	Orientation string   `json:"orientation"`
	Background  [3]uint8 `json:"-"`
	Flattened   [3]int   `json:"background"`
	DCT         bool     `json:"dct"`
	SHA256      string   `json:"sha256"`
	Pixels      []int    `json:"pixels"` // of tiny outputs
}

func goldens(t testing.TB) []golden {
	t.Helper()
	data, err := os.ReadFile("testdata/goldens.json")
	if err != nil {
		t.Fatal(err)
	}
	var gs []golden
	if err := json.Unmarshal(data, &gs); err != nil {
		t.Fatal(err)
	}
	for i := range gs {
		for c, v := range gs[i].Flattened {
			gs[i].Background[c] = uint8(v)
		}
	}
	return gs
}

func (g golden) preprocess() pipeline.Preprocess {
	return pipeline.Preprocess{Resize: g.Resize, Size: g.Size, Crop: g.Crop, Filter: g.Filter,
		Std: [3]float64{1, 1, 1}, Scale: 1.0 / 255, Channels: "rgb", Orientation: g.Orientation, Background: g.Background}
}

func (g golden) String() string {
	s := fmt.Sprintf("%s/%s %v %s %s", g.File, g.Resize, g.Size, g.Filter, g.Orientation)
	if g.DCT {
		s += " dct"
	}
	return s
}

// noise is goldens.py's picture of w×h pixels.
func noise(w, h int) []byte {
	b := make([]byte, w*h*3)
	for i := range b {
		b[i] = byte(uint32(uint64(i)*2654435761) >> 24)
	}
	return b
}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fixtures are the names of all image files in testdata.
func fixtures(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, ext := range []string{"jpg", "png", "webp", "gif"} {
		found, err := filepath.Glob("testdata/*." + ext)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s fixtures: %v", ext, err)
		}
		for _, f := range found {
			names = append(names, filepath.Base(f))
		}
	}
	return names
}

// kernels are all that this machine can run.
func kernels() map[string]Kernel {
	ks := map[string]Kernel{"portable": KernelPortable, "go": KernelGo}
	if hasAVX2() {
		ks["avx2"] = KernelAVX2
	}
	return ks
}

func newDecoder(t testing.TB, p pipeline.Preprocess, o Options) *Decoder {
	t.Helper()
	d, err := NewDecoder(p, Limits{}, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// render is what d makes of a golden's fixture or noise.
func (g golden) render(t *testing.T, d *Decoder) []byte {
	t.Helper()
	var w, h int
	if strings.Contains(g.File, ".") {
		return guarded(t, d, func(dst []byte) error {
			_, err := d.Decode(fixture(t, g.File), dst)
			return err
		})
	}
	if _, err := fmt.Sscanf(g.File, "%dx%d", &w, &h); err != nil {
		t.Fatal(err)
	}
	return frame(t, d, noise(w, h), w, h, 1)
}

// frame resizes w×h RGB pixels as d would an image's.
func frame(t *testing.T, d *Decoder, pixels []byte, w, h, orientation int) []byte {
	t.Helper()
	return guarded(t, d, func(dst []byte) error {
		// Without a GIF's frame to draw, the data are taken as RGB pixels.
		return d.pixels(header{Info: Info{Format: GIF, Width: w, Height: h, Orientation: orientation}}, pixels, dst)
	})
}

// guarded hands out a destination for d's output and fails if a byte beside it changes.
func guarded(t *testing.T, d *Decoder, decode func(dst []byte) error) []byte {
	t.Helper()
	const guard = 64
	n := d.OutputBytes()
	b := bytes.Repeat([]byte{0xA5}, n+2*guard)
	if err := decode(b[guard : guard+n : guard+n]); err != nil {
		t.Fatal(err)
	}
	if edge := bytes.Repeat([]byte{0xA5}, guard); !bytes.Equal(b[:guard], edge) || !bytes.Equal(b[guard+n:], edge) {
		t.Fatal("written outside of the destination")
	}
	return b[guard : guard+n]
}

// Every fixture, resized every way, is bit for bit what Pillow makes of it, whichever kernel runs.
func TestPixelsArePillows(t *testing.T) {
	for _, g := range goldens(t) {
		t.Run(g.String(), func(t *testing.T) {
			for name, k := range kernels() {
				got := g.render(t, newDecoder(t, g.preprocess(), Options{Kernel: k, DCTScale: g.DCT}))
				if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != g.SHA256 {
					t.Errorf("%s: pixels differ from Pillow's: got %v…, want %v", name, got[:min(len(got), 60)], g.Pixels)
				}
			}
		})
	}
}

func TestBGRIsRGBReversed(t *testing.T) {
	p := golden{Resize: "letterbox", Size: [2]int{9, 14}, Filter: "bicubic", Orientation: "ignore", Background: [3]uint8{1, 2, 3}}.preprocess()
	rgb, bgr := make([]byte, 9*14*3), make([]byte, 9*14*3)
	data := fixture(t, "s420.jpg")
	if _, err := newDecoder(t, p, Options{}).Decode(data, rgb); err != nil {
		t.Fatal(err)
	}
	p.Channels = "bgr"
	if _, err := newDecoder(t, p, Options{}).Decode(data, bgr); err != nil {
		t.Fatal(err)
	}
	swapRedBlue(bgr)
	if !bytes.Equal(rgb, bgr) {
		t.Fatal("bgr output is not rgb output with red and blue exchanged")
	}
}

func TestPeek(t *testing.T) {
	for _, name := range fixtures(t) {
		w, h := 29, 19
		if strings.Contains(name, "offset") { // a screen larger than its frame
			w, h = 33, 22
		}
		info, err := Peek(fixture(t, name))
		want := Info{Format: formatOf(name), Width: w, Height: h, Orientation: 1}
		if _, err := fmt.Sscanf(name, "exif%d.", &want.Orientation); err != nil {
			want.Orientation = 1
		}
		if err != nil || info != want {
			t.Errorf("%s: %+v, %v; want %+v", name, info, err, want)
		}
	}
}

func formatOf(name string) Format {
	switch ext := filepath.Ext(name)[1:]; ext {
	case "jpg":
		return JPEG
	default:
		return Format(ext)
	}
}

// reasonOf is the reason an error rejects an image for; it fails the test on any other error.
func reasonOf(t testing.TB, err error) pipeline.Reason {
	t.Helper()
	var r *pipeline.Reject
	if err != nil && !errors.As(err, &r) {
		t.Fatalf("not a reject: %v", err)
	}
	if r == nil {
		return ""
	}
	return r.Reason
}
