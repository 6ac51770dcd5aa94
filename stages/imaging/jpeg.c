#include "native.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

// reader is everything a decode needs, kept in one struct that outlives the longjmp: libjpeg reports
// errors by calling error_exit, which must not return. The jump stays within facet_jpeg.
typedef struct {
  struct jpeg_decompress_struct j; // first: libjpeg hands its address back
  struct jpeg_error_mgr errors;
  struct jpeg_source_mgr source;
  struct jpeg_progress_mgr progress;
  jmp_buf fail;
  facet_status status;
  char *message;
  facet_rows *rows;
  int dry; // the data ended before the image did
} reader;

static void stop(reader *d, facet_status status) {
  d->status = status;
  longjmp(d->fail, 1);
}

static facet_status classify(const reader *d) {
  switch (d->errors.msg_code) {
  case JERR_OUT_OF_MEMORY: return FACET_NO_MEMORY;
  case JERR_EMPTY_IMAGE: return FACET_EMPTY;
  case JERR_IMAGE_TOO_BIG:
  case JERR_WIDTH_OVERFLOW: return FACET_TOO_LARGE;
  case JERR_ARITH_NOTIMPL:
  case JERR_BAD_PRECISION:
  case JERR_CCIR601_NOTIMPL:
  case JERR_COMPONENT_COUNT:
  case JERR_CONVERSION_NOTIMPL:
  case JERR_FRACT_SAMPLE_NOTIMPL:
  case JERR_NOT_COMPILED:
  case JERR_SOF_UNSUPPORTED: return FACET_UNSUPPORTED;
  default: return d->dry ? FACET_TRUNCATED : FACET_UNREADABLE;
  }
}

static void on_error(j_common_ptr j) {
  reader *d = (reader *)j;
  d->errors.format_message(j, d->message); // JMSG_LENGTH_MAX is 200, FACET_MESSAGE too
  stop(d, classify(d));
}

// on_message: a warning means that libjpeg made pixels up, so it ends the decode. Two are about
// metadata only.
static void on_message(j_common_ptr j, int level) {
  int code = j->err->msg_code;
  if (level < 0 && code != JWRN_JFIF_MAJOR && code != JWRN_ADOBE_XFORM) on_error(j);
}

static void no_output(j_common_ptr j) { (void)j; }

static void on_progress(j_common_ptr j) {
  reader *d = (reader *)j;
  // Called for every row of blocks, of every scan.
  if (facet_late(d->rows, (size_t)d->j.image_width * DCTSIZE)) stop(d, FACET_TIMED_OUT);
  if (d->j.input_scan_number <= d->rows->job->max_scans) return;
  snprintf(d->message, FACET_MESSAGE, "more than %d scans", d->rows->job->max_scans);
  stop(d, FACET_TOO_LARGE);
}

static void nothing(j_decompress_ptr j) { (void)j; }

// fill is called when the data have run out. It supplies an end of image: should the decoder need even
// one bit of it, it warns, and the warning ends the decode.
static boolean fill(j_decompress_ptr j) {
  static const JOCTET end[] = {0xFF, JPEG_EOI};
  reader *d = (reader *)j;
  d->dry = 1;
  if (j->arith_code) { // that decoder goes on with zeros, and says nothing
    facet_fail(d->message, FACET_TRUNCATED, "the data end before the image does");
    stop(d, FACET_TRUNCATED);
  }
  j->src->next_input_byte = end;
  j->src->bytes_in_buffer = sizeof end;
  return TRUE;
}

static void skip(j_decompress_ptr j, long n) {
  if (n <= 0) return;
  if ((size_t)n > j->src->bytes_in_buffer) {
    fill(j);
    return;
  }
  j->src->next_input_byte += n;
  j->src->bytes_in_buffer -= (size_t)n;
}

static void start(reader *d, const uint8_t *data, size_t length) {
  jpeg_create_decompress(&d->j);
  d->source = (struct jpeg_source_mgr){
      .next_input_byte = data,
      .bytes_in_buffer = length,
      .init_source = nothing,
      .fill_input_buffer = fill,
      .skip_input_data = skip,
      .resync_to_restart = jpeg_resync_to_restart,
      .term_source = nothing,
  };
  d->j.src = &d->source;
  d->progress.progress_monitor = on_progress;
  d->j.progress = &d->progress;
}

// configure asks for what Pillow asks for: the accurate integer IDCT and fancy upsampling (libjpeg's
// defaults), CMYK as it is stored.
static void configure(reader *d) {
  jpeg_read_header(&d->j, TRUE);
  d->j.out_color_space = d->j.num_components == 4 ? JCS_CMYK : JCS_RGB;
  d->j.scale_num = (unsigned)d->rows->job->scale;
  d->j.scale_denom = 8;
  jpeg_start_decompress(&d->j);
  const facet_job *job = d->rows->job;
  if (d->j.output_width != (JDIMENSION)job->width || d->j.output_height != (JDIMENSION)job->height) {
    facet_fail(d->message, FACET_UNREADABLE, "two headers that differ in size");
    stop(d, FACET_UNREADABLE);
  }
}

// cmyk_to_rgb takes Adobe's inverted CMYK, as Pillow takes every CMYK JPEG to be.
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, int n) {
  for (; n > 0; n--, rgb += 3, cmyk += 4) {
    int k = cmyk[3];
    for (int c = 0; c < 3; c++) {
      int v = (255 - cmyk[c]) * k + 128;
      rgb[c] = (uint8_t)(k - ((v + (v >> 8)) >> 8));
    }
  }
}

static void read_rows(reader *d, facet_rows *r) {
  JSAMPROW cmyk = NULL;
  if (d->j.out_color_space == JCS_CMYK)
    cmyk = d->j.mem->alloc_large((j_common_ptr)&d->j, JPOOL_IMAGE, (size_t)d->j.output_width * 4);
  while (d->j.output_scanline < d->j.output_height) {
    JSAMPROW rgb = facet_rows_next(r), row = cmyk ? cmyk : rgb;
    jpeg_read_scanlines(&d->j, &row, 1); // our source never suspends: always one row
    if (cmyk) cmyk_to_rgb(rgb, cmyk, (int)d->j.output_width);
    facet_rows_done(r);
  }
  jpeg_finish_decompress(&d->j);
}

// run is where on_error jumps to. The reader belongs to the caller, so that its fields survive the jump.
static void run(reader *d, facet_rows *r, const uint8_t *data, size_t length) {
  if (setjmp(d->fail)) return;
  start(d, data, length);
  configure(d);
  read_rows(d, r);
}

facet_status facet_jpeg(facet_rows *r, const uint8_t *data, size_t length, char *message) {
  reader d;
  memset(&d, 0, sizeof d);
  d.rows = r;
  d.message = message;
  d.j.err = jpeg_std_error(&d.errors);
  d.errors.error_exit = on_error;
  d.errors.emit_message = on_message;
  d.errors.output_message = no_output;
  run(&d, r, data, length);
  jpeg_destroy_decompress(&d.j);
  return d.status;
}
