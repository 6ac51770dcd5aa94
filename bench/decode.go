package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/jpeg"

	"golang.org/x/image/draw"

	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/stages/imaging"
)

// decode compares decoding one large photo to 224×224 with the Go standard library's way of it.
func (b *bench) decode(context.Context) error {
	photos, err := load(b.images, 400)
	if err != nil {
		return err
	}
	photo, err := mosaic(photos)
	if err != nil {
		return err
	}
	pre := pipeline.Preprocess{
		Resize: "stretch", Size: [2]int{224, 224}, Filter: "bilinear", Std: [3]float64{1, 1, 1}, Scale: 1.0 / 255,
		Channels: "rgb", Orientation: "ignore",
	}
	d, err := imaging.NewDecoder(pre, imaging.Limits{}, imaging.Options{})
	if err != nil {
		return err
	}
	pixels := make([]byte, 3*224*224)
	const times = 30
	ours, err := threadSeconds(func() error {
		for range times {
			if _, err := d.Decode(photo, pixels); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	theirs, err := threadSeconds(func() error {
		for range times {
			m, err := jpeg.Decode(bytes.NewReader(photo))
			if err != nil {
				return err
			}
			draw.BiLinear.Scale(image.NewRGBA(image.Rect(0, 0, 224, 224)), image.Rect(0, 0, 224, 224), m, m.Bounds(), draw.Src, nil)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fmt.Printf("\ndecode 1200×1600 JPEG to 224×224: %.1f ms; Go's image/jpeg + x/image: %.1f ms; ratio %.1f\n",
		1e3*ours/times, 1e3*theirs/times, theirs/ours)
	return nil
}
