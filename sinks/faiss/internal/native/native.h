// What facet wants of FAISS beyond the C API that go-faiss binds. Functions that return an int
// return 0, or a code after which faiss_get_last_error has the message (on the same thread).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>

#ifdef __cplusplus
extern "C" {
#endif

// The number of threads of OpenMP's next parallel regions.
void facet_set_threads(int n);

// The index that this thread made or read last.
FaissIndex* facet_last_index(void);

// The C++ class of the index, through its wrappers: "IndexIDMap2(IndexHNSWFlat)". Valid until the
// thread's next call.
const char* facet_describe(const FaissIndex* index);

// Copies the ids number from … from+n-1, in the order in which the index stores them. Sets *copied,
// which is less than n at the end only.
int facet_ids(const FaissIndex* index, size_t from, size_t n, int64_t* ids, size_t* copied);

// How unequal the inverted lists are (FAISS's imbalance factor): 1 if all are equally long, nlist if
// one holds everything; 0 for an index without lists, or without vectors.
int facet_imbalance(const FaissIndex* index, double* factor);

// Takes the vectors y [ny, d] with their ids into the exact nearest neighbours of the queries x
// [nq, d] so far: dis and nn are [nq, k], nearest first, ties by ascending id; a free place has
// id -1. Distances are squared L2, or inner products.
int facet_exact(int inner_product, size_t d, size_t nq, const float* x, size_t ny, const float* y,
                const int64_t* ids, size_t k, float* dis, int64_t* nn);

// FAISS's own merge, the reference for the merge in Go: reads all files into memory.
int facet_merge(const char* trained, const char** shards, int n, const char* out);

// The distance kernels: those in use, and plain loops to compare them with.
float facet_inner_product(const float* x, const float* y, size_t d);
float facet_l2sqr(const float* x, const float* y, size_t d);
float facet_norm_l2sqr(const float* x, size_t d);
// Switches between our kernels (1) and the library's (0); returns whether ours can run here.
int facet_fast_kernels(int on);

// Makes this process end as a C program would: the signals of a crash kill it, where the Go runtime
// would turn them into exit status 2, and what was printed before is not lost in a buffer.
void facet_end_like_c(void);

#ifdef __cplusplus
}
#endif
