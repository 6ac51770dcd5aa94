package imaging

import (
	"math"

	"github.com/facet-search/facet/pipeline"
)

// geometry is a resize in one dimension after the other: the image becomes width×height, of which only
// the window at (left, top) is computed, and that lands at (x, y) of the output.
type geometry struct {
	width, height             int
	left, top                 int
	windowWidth, windowHeight int
	x, y                      int
}

// plan says how an oriented image of w×h becomes the model's input.
func plan(p *pipeline.Preprocess, w, h int) geometry {
	switch p.Resize {
	case "shorter":
		return shorter(p, w, h)
	case "letterbox":
		return letterbox(p.Size[1], p.Size[0], w, h)
	}
	return geometry{width: p.Size[1], height: p.Size[0], windowWidth: p.Size[1], windowHeight: p.Size[0]}
}

// shorter is torchvision's Resize(size) and CenterCrop: one side becomes exactly Size's, the other is
// rounded down, the crop's offset to even. For a Size that is not square, the image is made to cover it.
func shorter(p *pipeline.Preprocess, w, h int) geometry {
	var g geometry
	g.height, g.width = p.Size[0], p.Size[1]
	if g.width*h >= g.height*w { // the width binds
		g.height = g.width * h / w
	} else {
		g.width = g.height * w / h
	}
	g.windowHeight, g.windowWidth = p.Output()
	g.left, g.top = half(g.width-g.windowWidth), half(g.height-g.windowHeight)
	return g
}

// letterbox is Pillow's ImageOps.pad: the image fits into width×height, centred.
func letterbox(width, height, w, h int) geometry {
	g := geometry{width: width, height: height}
	switch image, box := float64(w)/float64(h), float64(width)/float64(height); {
	case image > box:
		g.height = max(1, int(math.RoundToEven(float64(h)/float64(w)*float64(width))))
	case image < box:
		g.width = max(1, int(math.RoundToEven(image*float64(height))))
	}
	g.windowWidth, g.windowHeight = g.width, g.height
	g.x, g.y = half(width-g.width), half(height-g.height)
	return g
}

// half is Python's round(n / 2).
func half(n int) int { return int(math.RoundToEven(float64(n) / 2)) }
