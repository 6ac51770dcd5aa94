#include <csignal>
#include <cstdio>
#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <string>
#include <typeinfo>
#include <vector>

#include <omp.h>

#include <faiss/IVFlib.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/index_io.h>
#include <faiss/utils/distances.h>

#include "guard.h"
#include "native.h"

using facet::guard;
using faiss::Index;

namespace {

const Index* cpp(const FaissIndex* index) { return reinterpret_cast<const Index*>(index); }

std::string class_name(const Index* index) {
    int status = 0;
    const char* mangled = typeid(*index).name();
    std::unique_ptr<char, void (*)(void*)> s(
            abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
    std::string name = status == 0 ? s.get() : mangled;
    if (name.rfind("faiss::", 0) == 0) name.erase(0, 7);
    return name.substr(0, name.find("Template<")); // IndexIDMap2Template<faiss::Index>
}

std::string describe(const Index* index) {
    std::string name = class_name(index);
    if (auto* map = dynamic_cast<const faiss::IndexIDMap*>(index)) {
        return name + "(" + describe(map->index) + ")";
    }
    if (auto* pre = dynamic_cast<const faiss::IndexPreTransform*>(index)) {
        return name + "(" + describe(pre->index) + ")";
    }
    if (auto* ivf = dynamic_cast<const faiss::IndexIVF*>(index)) {
        return name + "(" + describe(ivf->quantizer) + ")";
    }
    return name;
}

// The inverted lists beneath a transform, or null.
const faiss::IndexIVF* lists_of(const Index* in) {
    if (auto* pre = dynamic_cast<const faiss::IndexPreTransform*>(in)) in = pre->index;
    return dynamic_cast<const faiss::IndexIVF*>(in);
}

size_t ids_of_map(const faiss::IndexIDMap* map, size_t from, size_t n, int64_t* out) {
    const auto& ids = map->id_map;
    size_t first = std::min(from, ids.size()), end = first + std::min(n, ids.size() - first);
    std::copy(ids.begin() + first, ids.begin() + end, out);
    return end - first;
}

size_t ids_of_lists(const faiss::IndexIVF* ivf, size_t from, size_t n, int64_t* out) {
    size_t copied = 0, position = 0;
    for (size_t list = 0; list < ivf->nlist && copied < n; list++) {
        size_t size = ivf->invlists->list_size(list);
        if (position + size > from) {
            faiss::InvertedLists::ScopedIds ids(ivf->invlists, list);
            size_t first = from > position ? from - position : 0;
            size_t count = std::min(size - first, n - copied);
            std::copy(ids.get() + first, ids.get() + first + count, out + copied);
            copied += count;
        }
        position += size;
    }
    return copied;
}

struct Neighbour {
    float dis;
    int64_t id;
};

// The nearest neighbours of a query among those known and the candidates of one block. A matrix
// product rounds otherwise than the kernels do, so candidates get their distance anew: identical
// vectors then have identical distances, whatever block they came in.
void merge_nearest(int inner_product, size_t d, const float* x, const float* y, const int64_t* ids,
                   size_t k, const int64_t* candidates, float* dis, int64_t* nn) {
    std::vector<Neighbour> all;
    for (size_t j = 0; j < k; j++) {
        if (nn[j] >= 0) all.push_back({dis[j], nn[j]});
        if (candidates[j] < 0) continue;
        const float* v = y + candidates[j] * d;
        float to = inner_product ? facet_inner_product(x, v, d) : facet_l2sqr(x, v, d);
        all.push_back({to, ids[candidates[j]]});
    }
    std::sort(all.begin(), all.end(), [&](const Neighbour& a, const Neighbour& b) {
        if (a.dis != b.dis) return inner_product ? a.dis > b.dis : a.dis < b.dis;
        return a.id < b.id;
    });
    for (size_t j = 0; j < std::min(k, all.size()); j++) {
        dis[j] = all[j].dis;
        nn[j] = all[j].id;
    }
}

} // namespace

extern "C" {

void facet_set_threads(int n) { omp_set_num_threads(n); }

const char* facet_describe(const FaissIndex* index) {
    static thread_local std::string description;
    description = describe(cpp(index));
    return description.c_str();
}

int facet_ids(const FaissIndex* index, size_t from, size_t n, int64_t* ids, size_t* copied) {
    return guard([&] {
        const Index* in = cpp(index);
        if (auto* pre = dynamic_cast<const faiss::IndexPreTransform*>(in)) in = pre->index;
        if (auto* map = dynamic_cast<const faiss::IndexIDMap*>(in)) {
            *copied = ids_of_map(map, from, n, ids);
        } else if (auto* ivf = dynamic_cast<const faiss::IndexIVF*>(in)) {
            FAISS_THROW_IF_NOT_MSG(ivf->invlists, "the index has no inverted lists");
            *copied = ids_of_lists(ivf, from, n, ids);
        } else {
            FAISS_THROW_FMT("%s holds no ids of its own", describe(in).c_str());
        }
    });
}

int facet_imbalance(const FaissIndex* index, double* factor) {
    return guard([&] {
        const faiss::IndexIVF* ivf = lists_of(cpp(index));
        *factor = ivf && ivf->invlists && ivf->ntotal > 0 ? ivf->invlists->imbalance_factor() : 0;
    });
}

int facet_exact(int inner_product, size_t d, size_t nq, const float* x, size_t ny, const float* y,
                const int64_t* ids, size_t k, float* dis, int64_t* nn) {
    return guard([&] {
        std::vector<float> block_dis(nq * k);
        std::vector<int64_t> block(nq * k);
        if (inner_product) {
            faiss::knn_inner_product(x, y, d, nq, ny, k, block_dis.data(), block.data());
        } else {
            faiss::knn_L2sqr(x, y, d, nq, ny, k, block_dis.data(), block.data());
        }
        for (size_t q = 0; q < nq; q++) {
            merge_nearest(inner_product, d, x + q * d, y, ids, k, &block[q * k], dis + q * k, nn + q * k);
        }
    });
}

int facet_merge(const char* trained, const char** shards, int n, const char* out) {
    return guard([&] {
        std::unique_ptr<Index> all(faiss::read_index(trained));
        for (int i = 0; i < n; i++) {
            std::unique_ptr<Index> shard(faiss::read_index(shards[i]));
            faiss::ivflib::merge_into(all.get(), shard.get(), false);
        }
        faiss::write_index(all.get(), out);
    });
}

void facet_end_like_c(void) {
    setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
    for (int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) signal(s, SIG_DFL);
}

} // extern "C"
