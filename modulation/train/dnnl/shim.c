#define _GNU_SOURCE
#include "shim.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { huge_page = 2 << 20 };

void facet_threads(int n) {
    omp_set_dynamic(0); /* a thread count that varies would vary the order of sums */
    omp_set_num_threads(n);
}

dnnl_status_t facet_run(const facet_call *calls, int n, dnnl_stream_t stream, int threads, int *at) {
    facet_threads(threads);
    for (int i = 0; i < n; i++) {
        dnnl_status_t s = dnnl_primitive_execute(calls[i].primitive, stream, calls[i].nargs, calls[i].args);
        if (s != dnnl_success) {
            *at = i;
            return s;
        }
    }
    return dnnl_stream_wait(stream);
}

void *facet_alloc(size_t bytes) {
    void *p = NULL;
    size_t align = bytes >= huge_page ? huge_page : 4096;
    if (posix_memalign(&p, align, bytes) != 0)
        return NULL;
    if (bytes >= huge_page)
        madvise(p, bytes, MADV_HUGEPAGE);
    memset(p, 0, bytes); /* touches every page now, not in the first step */
    return p;
}
