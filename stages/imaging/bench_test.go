package imaging

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"testing"

	"golang.org/x/image/draw"

	"github.com/facet-search/facet/internal/testenv"
)

// photo is a JPEG of w×h pixels with the frequencies of a photo: smooth shapes, edges and grain.
func photo(b *testing.B, w, h int) []byte {
	b.Helper()
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	grain := noise(w, h)
	for y := range h {
		for x := range w {
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			wave := 60 * math.Sin(9*u+5*math.Sin(7*v))
			edge := float64(((x/97)^(y/61))&1) * 40
			g := float64(grain[(y*w+x)*3]) / 12
			m.Set(x, y, color.RGBA{uint8(100 + wave + g), uint8(80 + edge + g), uint8(90 + 50*v + g), 255})
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, m, &jpeg.Options{Quality: 85}); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

func square(side int) golden {
	return golden{Resize: "stretch", Size: [2]int{side, side}, Filter: "bilinear", Orientation: "ignore"}
}

// decodeLoop times the decoder over the images in turn.
func decodeLoop(b *testing.B, images [][]byte, side int, o Options) {
	b.Helper()
	d, err := NewDecoder(square(side).preprocess(), Limits{}, o)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]byte, d.OutputBytes())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := d.Decode(images[i%len(images)], dst); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode1200x1600To224(b *testing.B) {
	data := photo(b, 1200, 1600)
	for name, o := range map[string]Options{"facet": {}, "facet-portable": {Kernel: KernelPortable}, "facet-dctscale": {DCTScale: true}} {
		b.Run(name, func(b *testing.B) { decodeLoop(b, [][]byte{data}, 224, o) })
	}
	b.Run("go", func(b *testing.B) {
		dst := image.NewRGBA(image.Rect(0, 0, 224, 224))
		for b.Loop() {
			m, err := jpeg.Decode(bytes.NewReader(data))
			if err != nil {
				b.Fatal(err)
			}
			draw.BiLinear.Scale(dst, dst.Bounds(), m, m.Bounds(), draw.Src, nil)
		}
	})
}

// The fashion gallery's photos are 60×80 and its model wants 64×64.
func BenchmarkDecodeFashion(b *testing.B) {
	var images [][]byte
	testenv.FashionEach(b, 500, func(_ string, data []byte) { images = append(images, data) })
	decodeLoop(b, images, 64, Options{})
}

func BenchmarkNormalize64(b *testing.B) {
	n := NewNormalizer(imageNet())
	pixels, planes := noise(64, 64), make([]float32, 64*64*3)
	b.SetBytes(int64(len(pixels)))
	for b.Loop() {
		n.Apply(planes, pixels)
	}
}
