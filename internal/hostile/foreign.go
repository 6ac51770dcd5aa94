package hostile

import (
	"bytes"
	"encoding/base64"

	"github.com/facet-search/facet/pipeline"
)

// foreign are files that are no image, or of a format that is not read, and such as are called what
// they are not.
func (c *corpus) foreign() {
	for name, text := range map[string]string{
		"page.jpg":       "<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>",
		"page.png":       "<html>\n",
		"denied.jpg":     "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
		"drawing.svg":    "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"><use href=\"#a\"/></svg>",
		"drawing.jpg":    "<?xml version=\"1.0\"?><!DOCTYPE svg [<!ENTITY a \"&a;&a;\">]><svg>&a;</svg>",
		"answer.jpg":     "{\"error\": \"quota exceeded\"}",
		"pointer.jpg":    "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
		"text.gif":       "not an image\n",
		"heic.heic":      "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
		"heic.jpg":       "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
		"avif.avif":      "\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf",
		"movie.jpg":      "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00isommp42",
		"tiff.tif":       "II*\x00\x08\x00\x00\x00\x00\x00",
		"tiff-big.jpg":   "MM\x00*\x00\x00\x00\x08\x00\x00",
		"bitmap.bmp":     "BM\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00\x00\x00\x28\x00\x00\x00",
		"icon.ico":       "\x00\x00\x01\x00\x01\x00\x10\x10\x00\x00\x01\x00\x20\x00",
		"layers.psd":     "8BPS\x00\x01\x00\x00\x00\x00\x00\x00\x00\x03",
		"jpeg2000.jp2":   "\x00\x00\x00\x0cjP  \r\n\x87\n",
		"codestream.jpg": "\xff\x4f\xff\x51\x00\x2f",
		"jxl.jxl":        "\xff\x0a\xfa\x1f",
		"jxl.jpg":        "\x00\x00\x00\x0cJXL \r\n\x87\n",
		"paper.pdf":      "%PDF-1.7\n1 0 obj\n",
		"script.jpg":     "%!PS-Adobe-3.0 EPSF-3.0\n",
		"archive.jpg":    "PK\x03\x04\x14\x00\x00\x00",
		"program.jpg":    "\x7fELF\x02\x01\x01\x00",
		"shell.jpg":      "#!/bin/sh\nrm -rf /\n",
		"portable.ppm":   "P6\n1 1\n255\nabc",
		"raw.jpg":        string(make([]byte, 5000)),
		"dds.dds":        "DDS \x7c\x00\x00\x00",
		"one-byte.jpg":   "x",
	} {
		c.add("foreign-"+name, []byte(text), pipeline.Unsupported)
	}
	c.add("empty.jpg", nil, pipeline.Empty)
	c.add("empty.png", []byte{}, pipeline.Empty)
	for name, text := range map[string]string{"ff.jpg": "\xff", "ffd8.jpg": "\xff\xd8", "89.png": "\x89", "g.gif": "G", "r.webp": "R"} {
		c.add("begun-"+name, []byte(text), pipeline.Truncated)
	}
	for name, of := range map[string]string{
		"png.jpg": "rgb8.png", "jpeg.png": "s420.jpg", "webp.jpg": "lossy.webp", "gif.webp": "plain.gif", "jpeg.gif": "progressive.jpg",
		"jpeg": "s420.jpg", "jpeg.html": "s420.jpg", "png.exe": "rgb8.png",
	} {
		c.like("named-"+name, c.good[of], "", of)
	}
	c.polyglots()
}

// polyglots are two files in one.
func (c *corpus) polyglots() {
	jpeg, png := c.good["s420.jpg"], c.good["rgb8.png"]
	c.like("both-jpeg-of-png.jpg", inserted(jpeg, 2, app(0xE9, png)), "", "s420.jpg")
	c.like("both-jpeg-of-jpeg.jpg", inserted(jpeg, 2, app(0xE1, append([]byte("thumbnail"), c.good["progressive.jpg"]...))), "", "s420.jpg")
	c.like("both-png-of-jpeg.png", inserted(png, 33, chunk("juNk", jpeg...)), "", "rgb8.png")
	c.like("both-jpeg-of-script.jpg", inserted(jpeg, 2, app(0xFE, []byte("*/=alert(1);/*"))), "", "s420.jpg")
	c.add("both-page-then-jpeg.jpg", append([]byte("<!-- "), jpeg...), pipeline.Unsupported)
	c.add("both-pdf-then-png.png", append([]byte("%PDF-1.4\n"), png...), pipeline.Unsupported)
	c.add("both-newline-then-jpeg.jpg", append([]byte("\n"), jpeg...), pipeline.Unsupported)
	c.add("both-bom-then-png.png", append([]byte("\xef\xbb\xbf"), png...), pipeline.Unsupported)
	c.add("both-text-of-jpeg.jpg", []byte(base64.StdEncoding.EncodeToString(jpeg)), pipeline.Unsupported)
	c.add("both-utf8-of-jpeg.jpg", bytes.ToValidUTF8(jpeg, []byte("\ufffd")), pipeline.Unsupported)
}
