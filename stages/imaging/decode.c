#include "native.h"

#include <stdio.h>
#include <string.h>

facet_status facet_fail(char message[FACET_MESSAGE], facet_status status, const char *text) {
  snprintf(message, FACET_MESSAGE, "%s", text);
  return status;
}

// frame pushes an image that is decoded already.
static facet_status frame(facet_rows *r, const uint8_t *data, size_t length, char *message) {
  size_t row = (size_t)r->job->width * 3;
  if (length != row * r->job->height)
    return facet_fail(message, FACET_INTERNAL, "frame of the wrong size");
  for (int y = 0; y < r->job->height; y++) {
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
  else if ((status = push(&rows, data, length, message)) == FACET_OK &&
           (status = facet_rows_finish(&rows)) != FACET_OK)
    facet_fail(message, status, "the decoder left rows out");
  facet_rows_free(&rows);
  return status;
}
