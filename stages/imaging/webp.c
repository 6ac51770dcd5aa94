#include "native.h"

#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

// picture is one decoded frame and its place on the canvas.
typedef struct {
  int x, y, width, height, alpha;
  uint8_t *pixels; // width×height RGB, or RGBA with alpha
} picture;

static facet_status status_of(VP8StatusCode code, char *message) {
  switch (code) {
  case VP8_STATUS_OK: return FACET_OK;
  case VP8_STATUS_OUT_OF_MEMORY: return facet_fail(message, FACET_NO_MEMORY, "out of memory in libwebp");
  case VP8_STATUS_SUSPENDED:
  case VP8_STATUS_NOT_ENOUGH_DATA: return facet_fail(message, FACET_TRUNCATED, "the data end early");
  case VP8_STATUS_UNSUPPORTED_FEATURE:
    return facet_fail(message, FACET_UNSUPPORTED, "a feature libwebp does not have");
  default: return facet_fail(message, FACET_UNREADABLE, "corrupt bitstream");
  }
}

// feed hands the data to an incremental decoder in portions, so that it can be stopped between two. They
// grow, since a lossless picture's headers are parsed anew until all of them are there.
static VP8StatusCode feed(facet_rows *r, WebPIDecoder *decoder, const uint8_t *data, size_t length) {
  enum { PORTION = 4096 };
  VP8StatusCode code = VP8_STATUS_SUSPENDED;
  for (size_t at = 0; at < length && code == VP8_STATUS_SUSPENDED;) {
    size_t portion = at / 4 > PORTION ? at / 4 : PORTION;
    at = portion < length - at ? at + portion : length;
    if (facet_late(r, portion * 16)) return VP8_STATUS_USER_ABORT;
    code = WebPIUpdate(decoder, data, at);
  }
  return code;
}

// read_picture decodes a still image; p->pixels is the caller's to free.
static facet_status read_picture(facet_rows *r, picture *p, const uint8_t *data, size_t length, char *message) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) return facet_fail(message, FACET_INTERNAL, "libwebp of another version");
  VP8StatusCode code = WebPGetFeatures(data, length, &config.input);
  if (code != VP8_STATUS_OK) return status_of(code, message);
  if (config.input.width != p->width || config.input.height != p->height)
    return facet_fail(message, FACET_UNREADABLE, "two headers that differ in size");
  p->alpha = config.input.has_alpha;
  size_t stride = (size_t)p->width * (p->alpha ? 4 : 3), size = stride * (size_t)p->height;
  p->pixels = malloc(size);
  if (!p->pixels) return facet_fail(message, FACET_NO_MEMORY, "out of memory for a frame");
  config.output.colorspace = p->alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = (WebPRGBABuffer){.rgba = p->pixels, .stride = (int)stride, .size = size};
  WebPIDecoder *decoder = WebPIDecode(NULL, 0, &config);
  if (!decoder) return facet_fail(message, FACET_NO_MEMORY, "out of memory for libwebp");
  code = feed(r, decoder, data, length);
  WebPIDelete(decoder);
  WebPFreeDecBuffer(&config.output);
  return status_of(code, message);
}

static void put_line(uint8_t *to, const picture *p, int line, const uint8_t background[3]) {
  size_t stride = (size_t)p->width * (p->alpha ? 4 : 3);
  const uint8_t *from = p->pixels + (size_t)line * stride;
  if (p->alpha)
    facet_flatten(to, from, (size_t)p->width, background);
  else
    memcpy(to, from, stride);
}

// put pushes the canvas: the background, and the picture on it.
static void put(facet_rows *r, const picture *p) {
  const facet_job *job = r->job;
  for (int y = 0; y < job->height && !facet_late(r, (size_t)job->width); y++) {
    uint8_t *row = facet_rows_next(r);
    int inside = y >= p->y && y < p->y + p->height;
    if (!inside || p->width < job->width)
      for (int x = 0; x < job->width; x++) memcpy(row + (size_t)x * 3, job->background, 3);
    if (inside) put_line(row + (size_t)p->x * 3, p, y - p->y, job->background);
    facet_rows_done(r);
  }
}

static facet_status first_frame(facet_rows *r, WebPDemuxer *demux, char *message) {
  WebPIterator frame;
  if (!WebPDemuxGetFrame(demux, 1, &frame)) return facet_fail(message, FACET_UNREADABLE, "no frame");
  picture p = {.x = frame.x_offset, .y = frame.y_offset, .width = frame.width, .height = frame.height};
  facet_status status;
  if (!frame.complete)
    status = facet_fail(message, FACET_TRUNCATED, "the first frame ends early");
  else if (p.x > r->job->width - p.width || p.y > r->job->height - p.height)
    status = facet_fail(message, FACET_UNREADABLE, "a frame beyond the canvas");
  else
    status = read_picture(r, &p, frame.fragment.bytes, frame.fragment.size, message);
  if (status == FACET_OK) put(r, &p);
  free(p.pixels);
  WebPDemuxReleaseIterator(&frame);
  return status;
}

static facet_status animation(facet_rows *r, const uint8_t *data, size_t length, char *message) {
  WebPData bytes = {data, length};
  WebPDemuxer *demux = WebPDemux(&bytes);
  if (!demux) return facet_fail(message, FACET_UNREADABLE, "corrupt container");
  facet_status status;
  if (WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH) != (uint32_t)r->job->width ||
      WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT) != (uint32_t)r->job->height)
    status = facet_fail(message, FACET_UNREADABLE, "two headers that differ in size");
  else
    status = first_frame(r, demux, message);
  WebPDemuxDelete(demux);
  return status;
}

facet_status facet_webp(facet_rows *r, const uint8_t *data, size_t length, char *message) {
  WebPBitstreamFeatures features;
  VP8StatusCode code = WebPGetFeatures(data, length, &features);
  if (code != VP8_STATUS_OK) return status_of(code, message);
  if (features.has_animation) return animation(r, data, length, message);
  picture p = {.width = r->job->width, .height = r->job->height};
  facet_status status = read_picture(r, &p, data, length, message);
  if (status == FACET_OK) put(r, &p);
  free(p.pixels);
  return status;
}
