package imaging

import (
	"math"
	"testing"

	"github.com/facet-search/facet/pipeline"
)

func imageNet() pipeline.Preprocess {
	return pipeline.Preprocess{Mean: [3]float64{0.485, 0.456, 0.406}, Std: [3]float64{0.229, 0.224, 0.225}, Scale: 0.00392156862745098}
}

// (x/255 − mean)/std in float32, as NumPy and PyTorch compute it, for every pixel value.
func TestNormalizerIsNumPys(t *testing.T) {
	p := imageNet()
	n := NewNormalizer(p)
	pixels, planes := make([]byte, 256*3), make([]float32, 256*3)
	for i := range pixels {
		pixels[i] = byte(i / 3)
	}
	n.Apply(planes, pixels)
	for i, got := range planes {
		c, v := i/256, i%256
		scaled := float32(v) / 255
		centred := scaled - float32(p.Mean[c])
		if want := centred / float32(p.Std[c]); math.Float32bits(got) != math.Float32bits(want) {
			t.Fatalf("channel %d, pixel %d: %v, want %v", c, v, got, want)
		}
	}
	// By NumPy: ((np.float32(200)/np.float32(255)) - np.float32(.485)) / np.float32(.229)
	if got := math.Float32bits(planes[200]); got != 0x3fa74d4f {
		t.Errorf("pixel 200 of red is %#x, NumPy says 0x3fa74d4f", got)
	}
}

func TestNormalizerRefusesOtherLengths(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	NewNormalizer(imageNet()).Apply(make([]float32, 3), make([]byte, 6))
}
