package train

import (
	"fmt"
	"math/rand/v2"

	"github.com/facet-search/facet/modulation/train/network"
)

// Missing is the class of an image that has no label for a task.
const Missing = int32(-1)

// Images are pixels at the network's input size and how they become its input.
type Images struct {
	Shape  network.Shape // 3, height, width
	Pixels []byte        // [n, height, width, 3]
	Mean   [3]float32
	Std    [3]float32 // input = (pixel·Scale − Mean)/Std
	Scale  float32    // 0 means 1/255
}

// Labels are the classes of images for each task: [task][image], Missing for none.
type Labels struct {
	Tasks   []string
	Classes [][]int32
}

// Augment is how images may be changed when they are drawn.
type Augment struct {
	Flip  bool `json:"flip" yaml:"flip"`   // left to right, every other time
	Shift int  `json:"shift" yaml:"shift"` // by up to so many pixels each way; the border is repeated
}

// view is one draw of an augmentation.
type view struct {
	flip   bool
	dy, dx int
}

// Len is the number of images.
func (im *Images) Len() int { return len(im.Pixels) / im.Shape.Size() }

func (im *Images) check() error {
	switch size := im.Shape.Size(); {
	case im.Shape[0] != 3 || size < 1:
		return fmt.Errorf("images of shape %v, want 3 channels", im.Shape)
	case len(im.Pixels) == 0 || len(im.Pixels)%size != 0:
		return fmt.Errorf("%d bytes of pixels are no images of %v", len(im.Pixels), im.Shape)
	}
	for _, s := range im.Std {
		if !(s > 0) {
			return fmt.Errorf("images: standard deviations %v", im.Std)
		}
	}
	return nil
}

// Check reports what is wrong with the labels of n images, or nil.
func (l *Labels) Check(n int) error {
	if len(l.Tasks) == 0 || len(l.Tasks) != len(l.Classes) {
		return fmt.Errorf("labels: %d tasks, %d columns of classes", len(l.Tasks), len(l.Classes))
	}
	for t, c := range l.Classes {
		if len(c) != n {
			return fmt.Errorf("labels of %s: %d of %d images", l.Tasks[t], len(c), n)
		}
		for i, class := range c {
			if class < Missing {
				return fmt.Errorf("labels of %s: image %d is of class %d", l.Tasks[t], i, class)
			}
		}
	}
	return nil
}

// draw chooses how an image is changed. It asks for the same amount of randomness whatever it yields.
func (a Augment) draw(rng *rand.Rand) (v view) {
	if a.Flip {
		v.flip = rng.IntN(2) == 1
	}
	if a.Shift > 0 {
		v.dy, v.dx = rng.IntN(2*a.Shift+1)-a.Shift, rng.IntN(2*a.Shift+1)-a.Shift
	}
	return v
}

// Fill writes image i as the network's input [3, height, width].
func (im *Images) Fill(dst []float32, i int) { im.fill(dst, i, view{}, im.tables()) }

// tables are the inputs of all pixel values, a channel.
func (im *Images) tables() *[3][256]float32 {
	scale := im.Scale
	if scale == 0 {
		scale = 1.0 / 255
	}
	var t [3][256]float32
	for c := range t {
		for v := range t[c] {
			t[c][v] = (float32(v)*scale - im.Mean[c]) / im.Std[c]
		}
	}
	return &t
}

func (im *Images) fill(dst []float32, i int, v view, tables *[3][256]float32) {
	h, w := im.Shape[1], im.Shape[2]
	src := im.Pixels[i*im.Shape.Size() : (i+1)*im.Shape.Size()]
	area := h * w
	for y := range h {
		row := src[clamp(y+v.dy, h)*w*3:]
		for x := range w {
			from := clamp(x+v.dx, w)
			if v.flip {
				from = w - 1 - from
			}
			p, at := row[from*3:from*3+3], y*w+x
			dst[at] = tables[0][p[0]]
			dst[area+at] = tables[1][p[1]]
			dst[2*area+at] = tables[2][p[2]]
		}
	}
}

func clamp(i, n int) int { return min(max(i, 0), n-1) }
