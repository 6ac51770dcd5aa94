// The native half of package imaging: decoders push rows of RGB into a facet_rows, which orients and
// resizes them on the way. Everything a call allocates it frees before it returns; all pointers in a
// job belong to the caller and are not kept.
#ifndef FACET_IMAGING_NATIVE_H
#define FACET_IMAGING_NATIVE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
  FACET_OK = 0,
  FACET_UNREADABLE,
  FACET_TRUNCATED,
  FACET_TOO_LARGE,
  FACET_UNSUPPORTED,
  FACET_EMPTY,
  FACET_TIMED_OUT,
  FACET_NO_MEMORY,
  FACET_INTERNAL,
} facet_status;

typedef enum { FACET_FRAME, FACET_JPEG, FACET_PNG, FACET_WEBP } facet_format;

typedef enum { FACET_AVX2 = 1, FACET_PORTABLE } facet_kernel;

enum { FACET_MESSAGE = 200 };

// facet_axis is one direction of a resize: output i is the sum over k < count[i] of input start[i]+k
// times coef[i*taps+k], in units of 2^-22. taps is a multiple of 4; coefficients past count are 0.
// split holds the same numbers for pmaddwd, four taps at a time: their low 15 bits, then the rest.
typedef struct {
  int in, out, taps;
  const int32_t *start, *count, *coef;
  const int16_t *split;
} facet_axis;

typedef struct {
  facet_format format;
  facet_kernel kernel;
  int width, height;     // of the rows that the decoder pushes
  int orientation;       // EXIF, 1…8
  int scale;             // JPEG: decode at scale/8 of the size
  int max_scans;         // JPEG
  int64_t deadline;      // of this thread's processor time, in nanoseconds
  uint8_t background[3]; // RGB that transparency is flattened on
  facet_axis x, y;       // of the oriented image
  uint8_t *dst;          // y.out rows of x.out RGB pixels, stride bytes apart
  size_t stride;
  uint8_t *frame; // not NULL: takes the oriented image unresized instead of dst
} facet_job;

// facet_decode decodes data and writes job->dst (or job->frame). message receives the cause of any
// status but FACET_OK.
facet_status facet_decode(const facet_job *job, const uint8_t *data, size_t length,
                          char message[FACET_MESSAGE]);

int facet_has_avx2(void);

int64_t facet_thread_time(void); // this thread's processor time in nanoseconds

// ---- between the native files ----

typedef void facet_horizontal(uint8_t *const out[4], const uint8_t *const in[4], const facet_axis *a);
// rows holds the count[i] input rows of output i, and the last of them once more.
typedef void facet_vertical(uint8_t *out, const uint8_t *const *rows, const facet_axis *a, int i,
                            size_t bytes);

facet_horizontal facet_horizontal_portable, facet_horizontal_avx2;
facet_vertical facet_vertical_portable, facet_vertical_avx2;

// FACET_SLACK is how far past a row's end the kernels may read, and (in the ring only) write.
enum { FACET_SLACK = 64, FACET_GROUP = 4 };

typedef struct {
  const facet_job *job;
  int width, height;       // oriented
  int mirror, flip, swap;  // what the orientation asks for
  int first, last;         // oriented rows that the resize reads: [first, last)
  int pushed;              // rows taken so far
  int staged;              // rows waiting for a horizontal pass
  int index[FACET_GROUP];  // their oriented row numbers
  const uint8_t *in[FACET_GROUP];
  uint8_t *stage, *ring, *frame;
  size_t stage_stride, ring_stride;
  int ring_rows;
  int next; // the output row to be written next
  size_t work; // pixels since the clock was last looked at
  int late;    // the deadline has passed
  const uint8_t **taps;
  facet_horizontal *horizontal;
  facet_vertical *vertical;
} facet_rows;

facet_status facet_rows_init(facet_rows *r, const facet_job *job);
uint8_t *facet_rows_next(facet_rows *r); // where the next row of width×3 bytes goes
void facet_rows_done(facet_rows *r);     // it is there
facet_status facet_rows_finish(facet_rows *r);
void facet_rows_free(facet_rows *r);

// facet_late is told of work by the pixel and says whether the deadline has passed. It looks at the
// clock once every millisecond or so, and so may be called for every row.
int facet_late(facet_rows *r, size_t pixels);

// facet_flatten puts n RGBA pixels on an RGB background, rounded to nearest.
void facet_flatten(uint8_t *rgb, const uint8_t *rgba, size_t n, const uint8_t background[3]);

facet_status facet_fail(char message[FACET_MESSAGE], facet_status status, const char *text);

facet_status facet_jpeg(facet_rows *r, const uint8_t *data, size_t length, char *message);
facet_status facet_png(facet_rows *r, const uint8_t *data, size_t length, char *message);
facet_status facet_webp(facet_rows *r, const uint8_t *data, size_t length, char *message);

#endif
