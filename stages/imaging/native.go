package imaging

/*
#cgo CFLAGS: -O3 -Wall -Wextra
#cgo LDFLAGS: -ljpeg -lspng -lwebpdemux -lwebp
#include "native.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"time"
	"unsafe"

	"github.com/facet-search/facet/pipeline"
)

// job is one call of facet_decode: everything from the compressed bytes to the resized pixels.
type job struct {
	decoder       *Decoder
	format        Format // GIF: the data are a frame of RGB pixels
	width, height int    // of the decoded image, before orientation
	orientation   int
	scale         int // JPEG: eighths of the size
	dst           []byte
	stride        int
}

var nativeFormats = map[Format]C.facet_format{JPEG: C.FACET_JPEG, PNG: C.FACET_PNG, WebP: C.FACET_WEBP, GIF: C.FACET_FRAME}

// reasons are the statuses for which the image is to blame.
var reasons = map[C.facet_status]pipeline.Reason{
	C.FACET_UNREADABLE:  pipeline.Unreadable,
	C.FACET_TRUNCATED:   pipeline.Truncated,
	C.FACET_TOO_LARGE:   pipeline.TooLarge,
	C.FACET_UNSUPPORTED: pipeline.Unsupported,
	C.FACET_EMPTY:       pipeline.Empty,
	C.FACET_TIMED_OUT:   pipeline.TimedOut,
}

// threadTime is how long the calling thread has run on a processor.
func threadTime() time.Duration { return time.Duration(C.facet_thread_time()) }

func hasAVX2() bool { return C.facet_has_avx2() != 0 }

// native runs the job. With a frame, that takes the oriented image unresized, and dst is left alone.
func (j job) native(data, frame []byte) error {
	var pins runtime.Pinner
	defer pins.Unpin()
	d := j.decoder
	c := C.facet_job{
		format: nativeFormats[j.format], kernel: C.FACET_PORTABLE,
		width: C.int(j.width), height: C.int(j.height), orientation: C.int(j.orientation),
		scale: C.int(j.scale), max_scans: C.int(d.limits.Scans), deadline: C.int64_t(d.deadline),
		x: d.x.native(&pins), y: d.y.native(&pins),
		dst: pinned[C.uint8_t](&pins, j.dst), stride: C.size_t(j.stride),
		frame: pinned[C.uint8_t](&pins, frame),
	}
	if d.options.Kernel == KernelAVX2 {
		c.kernel = C.FACET_AVX2
	}
	for i, v := range d.pre.Background {
		c.background[i] = C.uint8_t(v)
	}
	var message [C.FACET_MESSAGE]C.char
	status := C.facet_decode(&c, (*C.uint8_t)(unsafe.SliceData(data)), C.size_t(len(data)), &message[0])
	if status == C.FACET_OK {
		return nil
	}
	err := errors.New(C.GoString(&message[0]))
	if reason, ok := reasons[status]; ok {
		return &pipeline.Reject{Reason: reason, Err: err}
	}
	return fmt.Errorf("decode %s: %w", j.format, err)
}

func (a *axis) native(pins *runtime.Pinner) C.facet_axis {
	return C.facet_axis{
		in: C.int(a.in), out: C.int(a.out), taps: C.int(a.taps),
		start: pinned[C.int32_t](pins, a.start), count: pinned[C.int32_t](pins, a.count),
		coef: pinned[C.int32_t](pins, a.coef), split: pinned[C.int16_t](pins, a.split),
	}
}

// pinned is the address of a slice's elements, held in place until the pinner lets go; nil for none.
func pinned[To, From any](pins *runtime.Pinner, s []From) *To {
	p := unsafe.SliceData(s)
	if p == nil {
		return nil
	}
	pins.Pin(p)
	return (*To)(unsafe.Pointer(p))
}
