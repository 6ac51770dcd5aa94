package imaging

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

// turned is the image as EXIF orientation o wants it shown: TIFF 6.0, tag 274.
func turned(src []byte, w, h, o int) (dst []byte, tw, th int) {
	tw, th = w, h
	if o >= 5 {
		tw, th = h, w
	}
	dst = make([]byte, len(src))
	for y := range th {
		for x := range tw {
			sx, sy := x, y
			if o >= 5 {
				sx, sy = y, x
			}
			if o == 2 || o == 3 || o == 7 || o == 8 {
				sx = w - 1 - sx
			}
			if o == 3 || o == 4 || o == 6 || o == 7 {
				sy = h - 1 - sy
			}
			copy(dst[(y*tw+x)*3:][:3], src[(sy*w+sx)*3:])
		}
	}
	return dst, tw, th
}

func randomPreprocess(r *rand.Rand) pipeline.Preprocess {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	p := golden{Resize: pick("stretch", "shorter", "letterbox"), Filter: pick("bilinear", "bicubic"), Orientation: "apply",
		Size: [2]int{1 + r.IntN(90), 1 + r.IntN(90)}}.preprocess()
	if p.Resize == "shorter" {
		p.Crop = [2]int{1 + r.IntN(p.Size[0]), 1 + r.IntN(p.Size[1])}
	}
	return p
}

// C, AVX2 and Go give the same bits for any size, filter, mode and orientation, and orientation is
// what turning the picture first would give.
func TestKernelsAgree(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		p, w, h, o := randomPreprocess(r), 1+r.IntN(150), 1+r.IntN(150), 1+r.IntN(8)
		src := make([]byte, w*h*3)
		for i := range src {
			src[i] = byte(r.Uint32()) | -byte(r.Uint32()&1) // half of them 255, so that sums overshoot
		}
		upright, uw, uh := turned(src, w, h, o)
		want := frame(t, newDecoder(t, p, Options{Kernel: KernelGo}), upright, uw, uh, 1)
		for name, k := range kernels() {
			if got := frame(t, newDecoder(t, p, Options{Kernel: k}), src, w, h, o); !bytes.Equal(got, want) {
				t.Fatalf("%s differs: %d×%d, orientation %d, %+v", name, w, h, o, p)
			}
		}
	}
}

// The tables are reused from image to image; none may leak into the next.
func TestDecoderForgetsTheLastImage(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	p := golden{Resize: "letterbox", Size: [2]int{20, 30}, Filter: "bicubic", Orientation: "ignore"}.preprocess()
	d := newDecoder(t, p, Options{})
	for range 100 {
		w, h := 1+r.IntN(60), 1+r.IntN(60)
		want := frame(t, newDecoder(t, p, Options{}), noise(w, h), w, h, 1)
		if got := frame(t, d, noise(w, h), w, h, 1); !bytes.Equal(got, want) {
			t.Fatalf("%d×%d differs in a used decoder", w, h)
		}
	}
}

// Halving four pixels, by hand: bilinear weights 1/4 3/4 3/4 1/4 around each pair, the outer one cut off.
func TestAxisCoefficients(t *testing.T) {
	var a axis
	a.set(filters["bilinear"], 4, 2, 0, 2)
	one := 1 << precision
	seventh := func(n int) int32 { return int32((n*one + 3) / 7) }
	want := []int32{seventh(3), seventh(3), seventh(1), 0, seventh(1), seventh(3), seventh(3), 0}
	if a.taps != 4 || a.start[0] != 0 || a.start[1] != 1 || a.count[0] != 3 || a.count[1] != 3 {
		t.Fatalf("taps %d, start %v, count %v", a.taps, a.start, a.count)
	}
	for i, w := range want {
		if a.coef[i] != w {
			t.Fatalf("coefficients %v, want %v", a.coef, want)
		}
		if at := i/4*8 + i%4; int32(a.split[at])+int32(a.split[at+4])<<15 != w {
			t.Fatalf("coefficient %d is split into %d and %d", w, a.split[at], a.split[at+4])
		}
	}
}
