// Package picture is the job `facet picture`: what a published snapshot finds, for people to look at.
// Each query has one row of neighbours a task.
package picture

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"github.com/facet-search/facet/jobs/jobfile"
	"github.com/facet-search/facet/jobs/search"
	"github.com/facet-search/facet/pipeline"
	"github.com/facet-search/facet/sinks"
	"github.com/facet-search/facet/sinks/store"
	"github.com/facet-search/facet/stages/imaging"
)

// Spec says what to show.
type Spec struct {
	Output  string   // where the snapshot is published
	Gallery string   // where its images are
	Keys    []string // the queries, images of the gallery
	Tasks   []string // none: all
	K       int      // neighbours a row
}

// The measures of a picture in pixels.
const (
	tile   = 56  // side of an image
	gap    = 6   // between images
	label  = 100 // width of a row's name
	margin = 12
)

// maxTiles bounds the picture.
const maxTiles = 10000

func (s Spec) check() error {
	switch {
	case s.Output == "" || s.Gallery == "" || len(s.Keys) == 0:
		return fmt.Errorf("%w: picture wants --output, --gallery and at least one --key", jobfile.ErrConfig)
	case s.K < 1 || s.K > 1000:
		return fmt.Errorf("%w: -k is %d, want 1 to 1000", jobfile.ErrConfig, s.K)
	}
	return nil
}

// Render draws the picture and returns it as PNG.
func Render(ctx context.Context, s Spec) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := s.chooseTasks(ctx); err != nil {
		return nil, err
	}
	if n := len(s.Keys) * len(s.Tasks) * s.K; n > maxTiles {
		return nil, fmt.Errorf("%w: a picture of %d neighbours, want at most %d", jobfile.ErrConfig, n, maxTiles)
	}
	c, err := newCanvas(ctx, s)
	if err != nil {
		return nil, err
	}
	for i, key := range s.Keys {
		if err := c.query(ctx, s, i, key); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	e := png.Encoder{CompressionLevel: png.BestCompression}
	if err := e.Encode(&out, c.image); err != nil {
		return nil, fmt.Errorf("encode picture: %w", err)
	}
	return out.Bytes(), nil
}

// chooseTasks fills in the snapshot's tasks where none are named.
func (s *Spec) chooseTasks(ctx context.Context) error {
	if len(s.Tasks) > 0 {
		return nil
	}
	objects, err := store.Open(ctx, s.Output)
	if err != nil {
		return fmt.Errorf("%w: output: %w", jobfile.ErrConfig, err)
	}
	snapshot, err := sinks.OpenCurrent(ctx, objects)
	if err != nil {
		return err
	}
	for _, t := range snapshot.Tasks {
		s.Tasks = append(s.Tasks, t.Name)
	}
	return nil
}

// canvas is a picture under way.
type canvas struct {
	image   *image.RGBA
	images  store.Store
	decoder *imaging.Decoder
}

func newCanvas(ctx context.Context, s Spec) (*canvas, error) {
	images, err := store.Open(ctx, s.Gallery)
	if err != nil {
		return nil, fmt.Errorf("%w: gallery: %w", jobfile.ErrConfig, err)
	}
	fit := pipeline.Preprocess{
		Resize: "letterbox", Size: [2]int{tile, tile}, Filter: "bicubic", Std: [3]float64{1, 1, 1}, Scale: 1,
		Channels: "rgb", Orientation: "apply", Background: [3]uint8{255, 255, 255},
	}
	d, err := imaging.NewDecoder(fit, imaging.Limits{Bytes: maxBytes, Pixels: 64e6, Scans: 100}, imaging.Options{})
	if err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	rows := len(s.Keys) * len(s.Tasks)
	width := 2*margin + tile + gap + label + s.K*(tile+gap)
	height := margin + rows*(tile+gap) + len(s.Keys)*margin
	c := &canvas{image: image.NewRGBA(image.Rect(0, 0, width, height)), images: images, decoder: d}
	draw.Draw(c.image, c.image.Bounds(), image.White, image.Point{}, draw.Src)
	return c, nil
}

// maxBytes bounds an encoded image.
const maxBytes = 64 << 20

// query draws one query, the i-th, and its rows.
func (c *canvas) query(ctx context.Context, s Spec, i int, key string) error {
	top := margin + i*(len(s.Tasks)*(tile+gap)+margin)
	if err := c.paste(ctx, key, margin, top); err != nil {
		return err
	}
	for t, task := range s.Tasks {
		y := top + t*(tile+gap)
		c.write(task, margin+tile+2*gap, y+tile/2)
		hits, err := search.Run(ctx, search.Query{Output: s.Output, Task: task, Key: key, K: s.K})
		if err != nil {
			return err
		}
		for k, h := range hits {
			if err := c.paste(ctx, h.Key, margin+tile+gap+label+k*(tile+gap), y); err != nil {
				return err
			}
		}
	}
	return nil
}

// paste draws an image of the gallery.
func (c *canvas) paste(ctx context.Context, key string, x, y int) error {
	data, _, err := store.ReadObject(ctx, c.images, key, nil, maxBytes)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	pixels := make([]byte, 3*tile*tile)
	if _, err := c.decoder.Decode(data, pixels); err != nil {
		return fmt.Errorf("image %q: %w", key, err)
	}
	for i := range tile * tile {
		p := pixels[3*i : 3*i+3]
		c.image.SetRGBA(x+i%tile, y+i/tile, color.RGBA{p[0], p[1], p[2], 255})
	}
	return nil
}

// write draws a line of text on the height y.
func (c *canvas) write(text string, x, y int) {
	d := font.Drawer{Dst: c.image, Src: image.Black, Face: basicfont.Face7x13, Dot: fixed.P(x, y+4)}
	d.DrawString(text)
}
