// Package imaging turns the bytes of an image file into the pixels a model wants: uint8, height × width
// × 3, resized, and from there into float32 planes.
//
// A Decoder does all of it in one native call: it decodes (libjpeg-turbo, libspng, libwebp; GIF in Go),
// flattens transparency, turns the image as its EXIF says, and resizes, without ever holding the whole
// image where the format allows. A Normalizer makes the floats.
//
// # Pixels
//
// They are bit for bit those of Pillow:
//
//	im = Image.open(f)                                          # first frame of an animation
//	im = ImageOps.exif_transpose(im)                            # orientation "apply"
//	im = Image.alpha_composite(background, im.convert("RGBA"))  # where there is transparency
//	im = im.convert("RGB").resize(size, filter)                 # "stretch"
//
// The horizontal pass of a resize always comes first, as in Pillow 9.4; Pillow 13.0 exchanges the
// passes where that is cheaper, which moves a few pixels by one.
//
// "shorter" is torchvision's Resize and CenterCrop, "letterbox" is ImageOps.pad, with their rounding.
// A colour s of opacity a on background b becomes (s·a + b·(255−a))/255, rounded to nearest.
//
// It differs from Pillow on purpose where Pillow loses what is in the picture: transparency is
// flattened, where convert("RGB") alone would show the colours beneath it; 16-bit gray PNGs keep their
// high byte, as 16-bit colour does in Pillow, where Pillow clips gray at 255; the one transparent colour
// of a gray or 16-bit PNG is compared at the file's own depth; the part of an animated WebP's canvas that its first frame
// leaves free is background. EXIF orientation is read from EXIF only, not from XMP.
//
// # What is rejected
//
// Every header is read, and held against the Limits, before a pixel is allocated. Then it is the whole
// image or nothing: all that a decoder had to guess ends in a *pipeline.Reject. A JPEG may lack its end
// marker if all its coefficients are there (not where they are coded arithmetically, which cannot
// tell), and a GIF its trailer; a PNG must end in IEND and every
// checksum must be right, a WebP must be as long as it says.
//
// Every decoder looks at the clock between rows, passes or portions of the data, and stops once its
// thread has spent Limits.Time on the image. No limit can be switched off by what an image says.
package imaging
