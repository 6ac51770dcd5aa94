#include "native.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

facet_status facet_fail(char message[FACET_MESSAGE], facet_status status, const char *text) {
  snprintf(message, FACET_MESSAGE, "%s", text);
  return status;
}

int64_t facet_thread_time(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int facet_late(facet_rows *r, size_t pixels) {
  enum { PIXELS = 1 << 17 };
  r->work += pixels;
  if (r->late || r->work < PIXELS) return r->late;
  r->work = 0;
  return r->late = facet_thread_time() > r->job->deadline;
}

// frame pushes an image that is decoded already.
static facet_status frame(facet_rows *r, const uint8_t *data, size_t length, char *message) {
  size_t row = (size_t)r->job->width * 3;
  if (length != row * r->job->height)
    return facet_fail(message, FACET_INTERNAL, "frame of the wrong size");
  for (int y = 0; y < r->job->height && !facet_late(r, (size_t)r->job->width); y++) {
    memcpy(facet_rows_next(r), data + y * row, row);
    facet_rows_done(r);
  }
  return FACET_OK;
}

static facet_status push(facet_rows *r, const uint8_t *data, size_t length, char *message) {
  switch (r->job->format) {
  case FACET_FRAME: return frame(r, data, length, message);
  case FACET_JPEG: return facet_jpeg(r, data, length, message);
  case FACET_PNG: return facet_png(r, data, length, message);
  case FACET_WEBP: return facet_webp(r, data, length, message);
  }
  return facet_fail(message, FACET_INTERNAL, "no such format");
}

facet_status facet_decode(const facet_job *job, const uint8_t *data, size_t length,
                          char message[FACET_MESSAGE]) {
  facet_rows rows;
  message[0] = 0;
  facet_status status = facet_rows_init(&rows, job);
  if (status != FACET_OK)
    facet_fail(message, status, "out of memory for rows");
  else if ((status = push(&rows, data, length, message)) == FACET_OK && !rows.late &&
           (status = facet_rows_finish(&rows)) != FACET_OK)
    facet_fail(message, status, "the decoder left rows out");
  // Whatever a decoder makes of having been stopped, the deadline was the cause.
  if (rows.late) status = facet_fail(message, FACET_TIMED_OUT, "over the time limit");
  facet_rows_free(&rows);
  return status;
}
