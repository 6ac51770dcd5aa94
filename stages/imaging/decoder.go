package imaging

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/facet-search/facet/pipeline"
)

// Limits bound what a single image may cost. A zero field takes its default: no image, and no
// configuration by omission, can switch a limit off.
type Limits struct {
	Bytes  int64 // of the file
	Pixels int64 // width × height
	Scans  int   // of a progressive JPEG; each costs a pass over all coefficients
	// Time is what decoding may take of a processor: other work on the machine does not count, so that
	// a busy night rejects what an idle one does.
	Time time.Duration
}

// DefaultLimits are generous for a photo and keep the worst image, while it is decoded, within some
// hundred megabytes: up to 8 bytes a pixel for a progressive JPEG, 8 for a WebP, 4 for an interlaced PNG, 3
// for a GIF, and 3 more where EXIF turns it by 90°. Other JPEGs and PNGs take a few rows.
var DefaultLimits = Limits{Bytes: 64 << 20, Pixels: 64_000_000, Scans: 100, Time: 30 * time.Second}

// maxSide is the largest width or height, whatever Limits say: no JPEG, WebP or GIF can have a larger
// one, and it bounds the resampler's tables.
const maxSide = 65535

// Kernel is what resamples. All kernels give the same bits.
type Kernel int

const (
	KernelAuto     Kernel = iota // AVX2 where the machine has it, else Portable
	KernelAVX2                   // C with AVX2
	KernelPortable               // plain C
	KernelGo                     // pure Go, for comparison; needs memory for the whole image
)

// Options are choices that are not the model's. The zero value is right for parity with Pillow.
type Options struct {
	// DCTScale lets a JPEG be decoded at 1/2, 1/4 or 1/8 of its size where that leaves at least twice
	// the resized image's in both directions. Faster, and off Pillow's pixels by about 0.2 grey levels.
	DCTScale bool
	Kernel   Kernel
}

// Decoder turns image files into a model's pixels. One goroutine uses it at a time. It keeps up to
// a few megabytes of tables and scratch between calls.
type Decoder struct {
	pre     pipeline.Preprocess
	limits  Limits
	options Options
	filter  filter
	x, y    axis
	scratch []byte
	// deadline of the image at hand, in the processor time of the thread that decodes it.
	deadline time.Duration
}

// maxScratch is the size above which scratch memory is given back after the image that needed it.
const maxScratch = 4 << 20

// NewDecoder returns a decoder for a model's preprocessing, or says what is wrong with the arguments.
func NewDecoder(p pipeline.Preprocess, l Limits, o Options) (*Decoder, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("decoder: %w", err)
	}
	if l.Bytes < 0 || l.Pixels < 0 || l.Scans < 0 || l.Time < 0 {
		return nil, fmt.Errorf("decoder: negative limits %+v", l)
	}
	if o.Kernel < KernelAuto || o.Kernel > KernelGo {
		return nil, fmt.Errorf("decoder: no kernel %d", o.Kernel)
	}
	if o.Kernel == KernelAVX2 && !hasAVX2() {
		return nil, errors.New("decoder: this machine has no AVX2")
	}
	if o.Kernel == KernelAuto {
		o.Kernel = KernelPortable
		if hasAVX2() {
			o.Kernel = KernelAVX2
		}
	}
	return &Decoder{pre: p, limits: l.withDefaults(), options: o, filter: filters[p.Filter]}, nil
}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = DefaultLimits.Bytes
	}
	if l.Pixels == 0 {
		l.Pixels = DefaultLimits.Pixels
	}
	if l.Scans == 0 {
		l.Scans = DefaultLimits.Scans
	}
	if l.Time == 0 {
		l.Time = DefaultLimits.Time
	}
	return l
}

// OutputBytes is the length of the pixels Decode yields: height × width × 3.
func (d *Decoder) OutputBytes() int {
	h, w := d.pre.Output()
	return h * w * 3
}

// Decode writes the image in data to dst, height × width × 3 in the model's channel order; dst has
// OutputBytes bytes. An error that is a *pipeline.Reject is the image's fault, any other is not (no
// memory, a dst of the wrong length). After an error, dst's contents mean nothing. Neither slice is kept.
func (d *Decoder) Decode(data, dst []byte) (Info, error) {
	if len(dst) != d.OutputBytes() {
		return Info{}, fmt.Errorf("decode: %d bytes for pixels, want %d", len(dst), d.OutputBytes())
	}
	if int64(len(data)) > d.limits.Bytes {
		return Info{}, reject(pipeline.TooLarge, "%d bytes, limit %d", len(data), d.limits.Bytes)
	}
	h, err := parse(data)
	if over := d.limits.admit(h); over != nil { // says more than that a bomb is also truncated
		return h.Info, over
	}
	if err == nil {
		err = named(h.Format, d.pixels(h, data, dst))
	}
	return h.Info, err
}

func (l Limits) admit(h header) error {
	switch pixels := int64(h.Width) * int64(h.Height); {
	case pixels > l.Pixels:
		return reject(pipeline.TooLarge, "%s: %d×%d pixels, limit %d", h.Format, h.Width, h.Height, l.Pixels)
	case max(h.Width, h.Height) > maxSide:
		return reject(pipeline.TooLarge, "%s: %d×%d pixels, no side may exceed %d", h.Format, h.Width, h.Height, maxSide)
	case h.scans > l.Scans:
		return reject(pipeline.TooLarge, "%s: %d scans, limit %d", h.Format, h.scans, l.Scans)
	}
	return nil
}

// pixels decodes, orients, resizes, places, all within the time limit.
func (d *Decoder) pixels(h header, data, dst []byte) error {
	runtime.LockOSThread() // its clock is the one that counts
	defer runtime.UnlockOSThread()
	d.deadline = threadTime() + d.limits.Time
	if d.pre.Orientation == "ignore" {
		h.Orientation = 1
	}
	w, ht := h.oriented()
	g := plan(&d.pre, w, ht)
	scale := d.dctScale(h.Format, g, w, ht)
	d.x.set(d.filter, scaled(w, scale), g.width, g.left, g.windowWidth)
	d.y.set(d.filter, scaled(ht, scale), g.height, g.top, g.windowHeight)
	_, width := d.pre.Output()
	if len(dst) > g.windowWidth*g.windowHeight*3 {
		fill(dst, d.pre.Background)
	}
	j := job{decoder: d, format: h.Format, width: scaled(h.Width, scale), height: scaled(h.Height, scale),
		orientation: h.Orientation, scale: scale, dst: dst[(g.y*width+g.x)*3:], stride: width * 3}
	if err := d.run(j, h.gif, data); err != nil {
		return err
	}
	if d.pre.Channels == "bgr" {
		swapRedBlue(dst)
	}
	return nil
}

// run gives the job what it decodes: the file, or the frame of a GIF.
func (d *Decoder) run(j job, frame *gifFrame, data []byte) error {
	if frame != nil {
		data = d.borrow(j.width * j.height * 3)
		defer d.giveBack()
		if err := frame.draw(data, j.width, d.pre.Background, d.late); err != nil {
			return err
		}
	}
	if d.options.Kernel != KernelGo {
		return j.native(data, nil)
	}
	whole := make([]byte, j.width*j.height*3)
	if err := j.native(data, whole); err != nil {
		return err
	}
	resample(j.dst, j.stride, whole, &d.x, &d.y)
	return nil
}

// late reports that the image at hand has had its time.
func (d *Decoder) late() bool { return threadTime() > d.deadline }

// dctScale is in how many eighths of its size a JPEG is decoded.
func (d *Decoder) dctScale(f Format, g geometry, w, h int) int {
	if f == JPEG && d.options.DCTScale {
		for _, s := range []int{1, 2, 4} {
			if scaled(w, s) >= 2*g.width && scaled(h, s) >= 2*g.height {
				return s
			}
		}
	}
	return 8
}

// scaled is libjpeg's size of n pixels at s/8.
func scaled(n, s int) int { return (n*s + 7) / 8 }

func (d *Decoder) borrow(n int) []byte {
	d.scratch = resized(d.scratch, n)
	return d.scratch
}

func (d *Decoder) giveBack() {
	if cap(d.scratch) > maxScratch {
		d.scratch = nil
	}
}

func fill(dst []byte, color [3]byte) {
	for i := 0; i+3 <= len(dst); i += 3 {
		copy(dst[i:i+3], color[:])
	}
}

func swapRedBlue(pixels []byte) {
	for i := 0; i+3 <= len(pixels); i += 3 {
		pixels[i], pixels[i+2] = pixels[i+2], pixels[i]
	}
}
