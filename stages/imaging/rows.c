#include "native.h"

#include <stdlib.h>
#include <string.h>

// Rows stream through: four at a time are resampled horizontally into a ring that holds just the rows
// one output row needs, and every output row is written as soon as its last input is there. So the
// whole image is never in memory, and the vertical pass reads from the first-level cache. The pixels
// are Pillow's all the same: horizontal pass first, 8 bits between the passes.

static int widest(const facet_axis *a) {
  int most = 1;
  for (int i = 0; i < a->out; i++)
    if (a->count[i] > most) most = a->count[i];
  return most;
}

static void orient(facet_rows *r, const facet_job *job) {
  int o = job->orientation;
  r->swap = o >= 5;
  r->mirror = o == 2 || o == 3;
  r->flip = o == 3 || o == 4;
  r->width = r->swap ? job->height : job->width;
  r->height = r->swap ? job->width : job->height;
}

static void *room(size_t n, size_t size) {
  return n > (SIZE_MAX - FACET_SLACK) / size ? NULL : malloc(n * size + FACET_SLACK);
}

facet_status facet_rows_init(facet_rows *r, const facet_job *job) {
  memset(r, 0, sizeof *r);
  r->job = job;
  orient(r, job);
  r->stage_stride = (size_t)job->width * 3 + FACET_SLACK;
  r->stage = room(FACET_GROUP, r->stage_stride);
  if (!r->stage) return FACET_NO_MEMORY;
  if (job->frame) {
    r->frame = job->frame;
    return FACET_OK;
  }
  if (r->swap && !(r->frame = room((size_t)r->width * r->height, 3))) return FACET_NO_MEMORY;
  const facet_axis *y = &job->y;
  int window = widest(y);
  r->first = y->start[0];
  r->last = y->start[y->out - 1] + y->count[y->out - 1];
  r->ring_rows = window + FACET_GROUP;
  r->ring_stride = ((size_t)job->x.out * 3 + 31) / 32 * 32 + FACET_SLACK;
  // Zeroed, as the kernels read (and then ignore) what lies between two rows.
  r->ring = calloc(r->ring_rows, r->ring_stride);
  r->taps = room((size_t)window + 1, sizeof *r->taps);
  if (!r->ring || !r->taps) return FACET_NO_MEMORY;
  r->next = r->flip ? y->out - 1 : 0;
  r->horizontal = job->kernel == FACET_AVX2 ? facet_horizontal_avx2 : facet_horizontal_portable;
  r->vertical = job->kernel == FACET_AVX2 ? facet_vertical_avx2 : facet_vertical_portable;
  return FACET_OK;
}

void facet_rows_free(facet_rows *r) {
  if (r->frame != r->job->frame) free(r->frame);
  free(r->stage);
  free(r->ring);
  free(r->taps);
}

static uint8_t *slot(const facet_rows *r, int row) {
  return r->ring + (size_t)(row % r->ring_rows) * r->ring_stride;
}

static void write_row(facet_rows *r, int i) {
  const facet_axis *y = &r->job->y;
  int n = y->count[i];
  for (int k = 0; k < n; k++) r->taps[k] = slot(r, y->start[i] + k);
  r->taps[n] = r->taps[n - 1];
  r->vertical(r->job->dst + (size_t)i * r->job->stride, r->taps, y, i, (size_t)r->job->x.out * 3);
}

// flush resamples the staged rows and writes the output rows that have all their input now.
static void flush(facet_rows *r) {
  int n = r->staged;
  if (n == 0) return;
  uint8_t *out[FACET_GROUP];
  for (int i = 0; i < FACET_GROUP; i++) {
    int j = i < n ? i : n - 1; // a short group does its last row several times
    r->in[i] = r->in[j];
    out[i] = slot(r, r->index[j]);
  }
  r->horizontal(out, r->in, &r->job->x);
  r->staged = 0;
  const facet_axis *y = &r->job->y;
  int reached = r->index[n - 1];
  if (r->flip)
    for (; r->next >= 0 && y->start[r->next] >= reached; r->next--) write_row(r, r->next);
  else
    for (; r->next < y->out && y->start[r->next] + y->count[r->next] <= reached + 1; r->next++)
      write_row(r, r->next);
}

// feed takes oriented row number y.
static void feed(facet_rows *r, int y, const uint8_t *row) {
  if (y < r->first || y >= r->last) return;
  r->in[r->staged] = row;
  r->index[r->staged++] = y;
  if (r->staged == FACET_GROUP) flush(r);
}

static void reverse(uint8_t *row, int width) {
  uint8_t *a = row, *b = row + ((size_t)width - 1) * 3;
  for (; a < b; a += 3, b -= 3) {
    uint8_t t[3];
    memcpy(t, a, 3);
    memcpy(a, b, 3);
    memcpy(b, t, 3);
  }
}

// scatter writes stored row s as a column of the frame (orientations 5 to 8).
static void scatter(facet_rows *r, int s, const uint8_t *row) {
  int o = r->job->orientation, stored_width = r->job->width;
  int x = o == 5 || o == 8 ? s : r->job->height - 1 - s;
  ptrdiff_t step = (ptrdiff_t)r->width * 3;
  uint8_t *p = r->frame + (size_t)x * 3;
  if (o >= 7) {
    p += step * (stored_width - 1);
    step = -step;
  }
  for (int i = 0; i < stored_width; i++, p += step) memcpy(p, row + (size_t)i * 3, 3);
}

// oriented is the number that the row now being pushed has after mirroring top and bottom.
static int oriented(const facet_rows *r) { return r->flip ? r->height - 1 - r->pushed : r->pushed; }

uint8_t *facet_rows_next(facet_rows *r) {
  if (r->job->frame && !r->swap) return r->frame + (size_t)oriented(r) * r->width * 3;
  return r->stage + (size_t)r->staged * r->stage_stride;
}

void facet_rows_done(facet_rows *r) {
  uint8_t *row = facet_rows_next(r);
  if (r->mirror) reverse(row, r->width);
  if (r->swap)
    scatter(r, r->pushed, row);
  else if (!r->job->frame)
    feed(r, oriented(r), row);
  r->pushed++;
}

facet_status facet_rows_finish(facet_rows *r) {
  if (r->pushed != r->job->height) return FACET_INTERNAL;
  if (r->job->frame) return FACET_OK;
  if (r->swap)
    for (int y = 0; y < r->height; y++) feed(r, y, r->frame + (size_t)y * r->width * 3);
  flush(r);
  return r->next == (r->flip ? -1 : r->job->y.out) ? FACET_OK : FACET_INTERNAL;
}

void facet_flatten(uint8_t *rgb, const uint8_t *rgba, size_t n, const uint8_t background[3]) {
  for (size_t i = 0; i < n; i++, rgb += 3, rgba += 4) {
    unsigned a = rgba[3];
    for (int c = 0; c < 3; c++) {
      unsigned v = rgba[c] * a + background[c] * (255 - a) + 128;
      rgb[c] = (uint8_t)((v + (v >> 8)) >> 8); // v/255 rounded, exactly
    }
  }
}
