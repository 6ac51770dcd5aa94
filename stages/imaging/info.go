package imaging

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/facet-search/facet/pipeline"
)

// Format is an image file format, as its content says; a file's name is never asked.
type Format string

const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	WebP Format = "webp"
	GIF  Format = "gif"
)

// Info is what the headers say about an image.
type Info struct {
	Format        Format
	Width, Height int // pixels as stored, before orientation
	Orientation   int // EXIF, 1…8; 1 where nothing valid is said
}

// oriented is width and height of the image once it is turned as Orientation says.
func (i Info) oriented() (width, height int) {
	if i.Orientation >= 5 {
		return i.Height, i.Width
	}
	return i.Width, i.Height
}

// header is what is known about a file before its pixels are decoded.
type header struct {
	Info
	scans int       // JPEG
	gif   *gifFrame // GIF
}

// Peek reads the headers and the file's structure without decoding a pixel. Its error is a
// *pipeline.Reject; the Info is filled as far as the headers could be read.
func Peek(data []byte) (Info, error) {
	h, err := parse(data)
	return h.Info, err
}

var formats = []struct {
	format Format
	magic  string
	parse  func([]byte) (header, error)
}{
	{JPEG, "\xff\xd8\xff", parseJPEG},
	{PNG, "\x89PNG\r\n\x1a\n", parsePNG},
	{WebP, "RIFF????WEBP", parseWebP},
	{GIF, "GIF8?a", parseGIF},
}

func parse(data []byte) (header, error) {
	if len(data) == 0 {
		return header{}, reject(pipeline.Empty, "zero bytes")
	}
	for _, f := range formats {
		if !matches(data, f.magic) {
			continue
		}
		if len(data) < len(f.magic) {
			return header{}, reject(pipeline.Truncated, "%d bytes that may begin a %s", len(data), f.format)
		}
		h, err := f.parse(data)
		h.Format = f.format
		h.Orientation = max(h.Orientation, 1)
		if err == nil && (h.Width == 0 || h.Height == 0) {
			err = reject(pipeline.Empty, "%d×%d pixels", h.Width, h.Height)
		}
		return h, named(f.format, err)
	}
	return header{}, reject(pipeline.Unsupported, "no JPEG, PNG, WebP or GIF; it looks like %s", http.DetectContentType(data))
}

// matches reports whether data begin with magic, or are a beginning of it; '?' is any byte.
func matches(data []byte, magic string) bool {
	for i := range min(len(data), len(magic)) {
		if magic[i] != '?' && data[i] != magic[i] {
			return false
		}
	}
	return true
}

func reject(r pipeline.Reason, format string, args ...any) *pipeline.Reject {
	return &pipeline.Reject{Reason: r, Err: fmt.Errorf(format, args...)}
}

// named puts the format's name into a reject's cause.
func named(f Format, err error) error {
	var r *pipeline.Reject
	if !errors.As(err, &r) {
		return err
	}
	return reject(r.Reason, "%s: %w", f, r.Err)
}

// cut is the reject of data that end inside something.
func cut(what string) error { return reject(pipeline.Truncated, "the data end in %s", what) }
