#ifndef FACET_DNNL_SHIM_H
#define FACET_DNNL_SHIM_H

#include <oneapi/dnnl/dnnl.h>
#include <stddef.h>

/* One bound kernel of a program; args points into C memory. */
typedef struct {
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t *args;
    int nargs;
} facet_call;

/* OpenMP keeps its thread count per OS thread, and goroutines change theirs: set before each use. */
void facet_threads(int n);

/* Runs calls in order. On failure *at is the index of the call that failed. */
dnnl_status_t facet_run(const facet_call *calls, int n, dnnl_stream_t stream, int threads, int *at);

/* Zeroed memory, page aligned, on huge pages where the kernel grants them; NULL when there is none. */
void *facet_alloc(size_t bytes);

#endif
