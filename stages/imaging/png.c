#include "native.h"

#include <stdlib.h>
#include <string.h>

#include <spng.h>

// chunks feeds libspng the chunks that make pixels and no others, so that text, colour profiles and
// other luggage cost nothing, however large they are or unpack to.
typedef struct {
  const uint8_t *data;
  size_t length, at;
  size_t left; // bytes of the current chunk still to be handed out
  facet_rows *rows;
} chunks;

static uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

// wanted: critical chunks have a capital first letter; of the others only tRNS counts.
static int wanted(const uint8_t *type) { return !(type[0] & 0x20) || memcmp(type, "tRNS", 4) == 0; }

static int next_chunk(chunks *c) {
  while (c->length - c->at >= 12) {
    const uint8_t *head = c->data + c->at;
    size_t size = (size_t)big_endian(head) + 12;
    if (size > c->length - c->at) return 0;
    if (wanted(head + 4)) {
      c->left = size;
      return 1;
    }
    c->at += size;
  }
  return 0;
}

// read_chunks is also where an interlaced image, decoded in one call, can be stopped: a byte read takes
// as long as some pixels, and unpacks to a thousand bytes at most.
static int read_chunks(spng_ctx *ctx, void *user, void *to, size_t n) {
  (void)ctx;
  chunks *c = user;
  if (facet_late(c->rows, n * 16)) return SPNG_IO_ERROR;
  for (uint8_t *out = to; n > 0;) {
    if (c->left == 0 && !next_chunk(c)) return SPNG_IO_EOF;
    size_t some = n < c->left ? n : c->left;
    memcpy(out, c->data + c->at, some);
    c->at += some, c->left -= some, out += some, n -= some;
  }
  return 0;
}

static facet_status classify(int err) {
  switch (err) {
  case SPNG_EMEM: return FACET_NO_MEMORY;
  case SPNG_IO_EOF:
  case SPNG_EOF:
  case SPNG_EIDAT_TOO_SHORT: return FACET_TRUNCATED;
  case SPNG_ECHUNK_UNKNOWN_CRITICAL: return FACET_UNSUPPORTED;
  // Internal errors of libspng too: whatever an image brings about there, it must not stop a job.
  default: return FACET_UNREADABLE;
  }
}

static void put(facet_rows *r, const uint8_t *pixels, int alpha) {
  int width = r->job->width;
  uint8_t *rgb = facet_rows_next(r);
  if (alpha)
    facet_flatten(rgb, pixels, (size_t)width, r->job->background);
  else
    memcpy(rgb, pixels, (size_t)width * 3);
  facet_rows_done(r);
}

// by_row decodes row after row and never holds the image.
static int by_row(spng_ctx *ctx, facet_rows *r, int format, int alpha) {
  size_t size = (size_t)r->job->width * (alpha ? 4 : 3);
  uint8_t *row = malloc(size);
  if (!row) return SPNG_EMEM;
  int err = spng_decode_image(ctx, NULL, 0, format, SPNG_DECODE_TRNS | SPNG_DECODE_PROGRESSIVE);
  for (int y = 0; y < r->job->height && !err; y++) {
    if (facet_late(r, (size_t)r->job->width)) break;
    err = spng_decode_row(ctx, row, size);
    if (err == SPNG_EOI && y == r->job->height - 1) err = 0; // said of the last row, which is there
    if (!err) put(r, row, alpha);
  }
  free(row);
  return err;
}

// whole decodes an interlaced image, whose rows come in seven passes.
static int whole(spng_ctx *ctx, facet_rows *r, int format, int alpha) {
  size_t row = (size_t)r->job->width * (alpha ? 4 : 3), size = row * (size_t)r->job->height;
  uint8_t *image = malloc(size);
  if (!image) return SPNG_EMEM;
  int err = spng_decode_image(ctx, image, size, format, SPNG_DECODE_TRNS);
  for (int y = 0; y < r->job->height && !err && !facet_late(r, (size_t)r->job->width); y++)
    put(r, image + (size_t)y * row, alpha);
  free(image);
  return err;
}

static int decode(spng_ctx *ctx, facet_rows *r, chunks *c) {
  struct spng_ihdr ihdr;
  struct spng_trns trns;
  int err = spng_set_png_stream(ctx, read_chunks, c);
  if (!err) err = spng_get_ihdr(ctx, &ihdr);
  if (err) return err;
  if (ihdr.width != (uint32_t)r->job->width || ihdr.height != (uint32_t)r->job->height) return SPNG_EINTERNAL;
  int none = spng_get_trns(ctx, &trns); // reads on to the first IDAT
  if (none && none != SPNG_ECHUNKAVAIL) return none;
  int alpha = !none || ihdr.color_type & 4;
  int format = alpha ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8;
  err = ihdr.interlace_method ? whole(ctx, r, format, alpha) : by_row(ctx, r, format, alpha);
  return err ? err : spng_decode_chunks(ctx); // to IEND
}

facet_status facet_png(facet_rows *r, const uint8_t *data, size_t length, char *message) {
  enum { SIGNATURE = 8 };
  spng_ctx *ctx = spng_ctx_new(0);
  if (!ctx) return facet_fail(message, FACET_NO_MEMORY, "out of memory for libspng");
  chunks c = {.data = data, .length = length, .left = SIGNATURE, .rows = r}; // the signature is handed out first
  int err = decode(ctx, r, &c);
  spng_ctx_free(ctx);
  return err ? facet_fail(message, classify(err), spng_strerror(err)) : FACET_OK;
}
