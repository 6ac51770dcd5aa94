// The part of FAISS's C API that go-faiss v0.2.0 calls, over FAISS's C++ library: Debian ships the
// C API's headers but not its code. Every exception becomes a code and a thread-local message.
#include <exception>
#include <string>

#include <faiss/AutoTune.h>
#include <faiss/IndexFlat.h>
#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/impl/AuxIndexStructures_c.h>
#include <faiss/c_api/index_factory_c.h>
#include <faiss/c_api/index_io_c.h>
#include <faiss/impl/AuxIndexStructures.h>
#include <faiss/impl/IDSelector.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>

#include "guard.h"
#include "native.h"

using faiss::Index;

namespace facet {

static thread_local std::string last_error;

// The index that this thread made or read last. go-faiss keeps its C pointer to itself, and the
// functions in extra.cpp need it.
static thread_local FaissIndex* last_index = nullptr;

int fail(int code, const char* message) {
    last_error = message;
    return code;
}

} // namespace facet

using facet::guard;

template <class T, class U>
static T* as(U* p) {
    return reinterpret_cast<T*>(p);
}

template <class T, class U>
static const T* as(const U* p) {
    return reinterpret_cast<const T*>(p);
}

static void hand_out(FaissIndex** to, Index* made) {
    *to = as<FaissIndex>(made);
    facet::last_index = *to;
}

extern "C" {

FaissIndex* facet_last_index(void) {
    return facet::last_index;
}

const char* faiss_get_last_error() {
    return facet::last_error.c_str();
}

int faiss_Index_d(const FaissIndex* i) {
    return as<Index>(i)->d;
}

int faiss_Index_is_trained(const FaissIndex* i) {
    return as<Index>(i)->is_trained;
}

idx_t faiss_Index_ntotal(const FaissIndex* i) {
    return as<Index>(i)->ntotal;
}

FaissMetricType faiss_Index_metric_type(const FaissIndex* i) {
    return static_cast<FaissMetricType>(as<Index>(i)->metric_type);
}

void faiss_Index_free(FaissIndex* i) {
    delete as<Index>(i);
}

int faiss_Index_train(FaissIndex* i, idx_t n, const float* x) {
    return guard([&] { as<Index>(i)->train(n, x); });
}

int faiss_Index_add(FaissIndex* i, idx_t n, const float* x) {
    return guard([&] { as<Index>(i)->add(n, x); });
}

int faiss_Index_add_with_ids(FaissIndex* i, idx_t n, const float* x, const idx_t* ids) {
    return guard([&] { as<Index>(i)->add_with_ids(n, x, ids); });
}

int faiss_Index_search(const FaissIndex* i, idx_t n, const float* x, idx_t k, float* d, idx_t* ids) {
    return guard([&] { as<Index>(i)->search(n, x, k, d, ids); });
}

int faiss_Index_range_search(
        const FaissIndex* i, idx_t n, const float* x, float radius, FaissRangeSearchResult* result) {
    return guard([&] {
        as<Index>(i)->range_search(n, x, radius, as<faiss::RangeSearchResult>(result));
    });
}

int faiss_Index_reset(FaissIndex* i) {
    return guard([&] { as<Index>(i)->reset(); });
}

int faiss_Index_remove_ids(FaissIndex* i, const FaissIDSelector* selector, size_t* removed) {
    return guard([&] {
        size_t n = as<Index>(i)->remove_ids(*as<faiss::IDSelector>(selector));
        if (removed) *removed = n;
    });
}

int faiss_IndexFlat_new_with(FaissIndexFlat** p, idx_t d, FaissMetricType metric) {
    return guard([&] {
        Index* flat = new faiss::IndexFlat(d, static_cast<faiss::MetricType>(metric));
        *p = as<FaissIndexFlat>(flat);
    });
}

void faiss_IndexFlat_xb(FaissIndexFlat* i, float** p, size_t* n) {
    auto* flat = static_cast<faiss::IndexFlat*>(as<Index>(i));
    *p = flat->get_xb();
    *n = flat->codes.size() / sizeof(float);
}

FaissIndexFlat* faiss_IndexFlat_cast(FaissIndex* i) {
    Index* flat = dynamic_cast<faiss::IndexFlat*>(as<Index>(i));
    return as<FaissIndexFlat>(flat);
}

int faiss_index_factory(FaissIndex** p, int d, const char* description, FaissMetricType metric) {
    return guard([&] {
        hand_out(p, faiss::index_factory(d, description, static_cast<faiss::MetricType>(metric)));
    });
}

int faiss_write_index_fname(const FaissIndex* i, const char* path) {
    return guard([&] { faiss::write_index(as<Index>(i), path); });
}

int faiss_read_index_fname(const char* path, int flags, FaissIndex** p) {
    return guard([&] { hand_out(p, faiss::read_index(path, flags)); });
}

int faiss_ParameterSpace_new(FaissParameterSpace** p) {
    return guard([&] { *p = as<FaissParameterSpace>(new faiss::ParameterSpace()); });
}

void faiss_ParameterSpace_free(FaissParameterSpace* p) {
    delete as<faiss::ParameterSpace>(p);
}

int faiss_ParameterSpace_set_index_parameter(
        const FaissParameterSpace* p, FaissIndex* i, const char* name, double value) {
    return guard([&] {
        as<faiss::ParameterSpace>(p)->set_index_parameter(as<Index>(i), name, value);
    });
}

int faiss_RangeSearchResult_new(FaissRangeSearchResult** p, idx_t nq) {
    return guard([&] { *p = as<FaissRangeSearchResult>(new faiss::RangeSearchResult(nq)); });
}

void faiss_RangeSearchResult_free(FaissRangeSearchResult* r) {
    delete as<faiss::RangeSearchResult>(r);
}

size_t faiss_RangeSearchResult_nq(const FaissRangeSearchResult* r) {
    return as<faiss::RangeSearchResult>(r)->nq;
}

void faiss_RangeSearchResult_lims(FaissRangeSearchResult* r, size_t** p) {
    *p = as<faiss::RangeSearchResult>(r)->lims;
}

void faiss_RangeSearchResult_labels(FaissRangeSearchResult* r, idx_t** labels, float** distances) {
    *labels = as<faiss::RangeSearchResult>(r)->labels;
    *distances = as<faiss::RangeSearchResult>(r)->distances;
}

int faiss_IDSelectorRange_new(FaissIDSelectorRange** p, idx_t first, idx_t end) {
    return guard([&] {
        faiss::IDSelector* s = new faiss::IDSelectorRange(first, end);
        *p = as<FaissIDSelectorRange>(s);
    });
}

int faiss_IDSelectorBatch_new(FaissIDSelectorBatch** p, size_t n, const idx_t* ids) {
    return guard([&] {
        faiss::IDSelector* s = new faiss::IDSelectorBatch(n, ids);
        *p = as<FaissIDSelectorBatch>(s);
    });
}

void faiss_IDSelector_free(FaissIDSelector* s) {
    delete as<faiss::IDSelector>(s);
}

} // extern "C"
