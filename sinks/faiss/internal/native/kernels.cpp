// AVX2 versions of FAISS's distance kernels.
//
// Debian builds libfaiss for plain x86-64, so fvec_L2sqr and its sisters work four floats at a time,
// and building an HNSW graph does little else than call them. The linker's --wrap sends every
// reference that the library's object files make to them here (see native.go); the originals remain
// reachable as __real_…, for processors without AVX2 and for the tests. Linking another build of
// FAISS keeps working: these functions then replace kernels that are about as fast.
#include <immintrin.h>

#include <cstddef>

#include "native.h"

#define L2SQR(prefix) prefix##_ZN5faiss10fvec_L2sqrEPKfS1_m
#define INNER_PRODUCT(prefix) prefix##_ZN5faiss18fvec_inner_productEPKfS1_m
#define NORM_L2SQR(prefix) prefix##_ZN5faiss15fvec_norm_L2sqrEPKfm
#define AVX2 __attribute__((target("avx2,fma")))

extern "C" {
float L2SQR(__real_)(const float* x, const float* y, size_t d);
float INNER_PRODUCT(__real_)(const float* x, const float* y, size_t d);
float NORM_L2SQR(__real_)(const float* x, size_t d);
}

namespace {

bool cpu_has_avx2() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const bool can_avx2 = cpu_has_avx2();
bool use_avx2 = can_avx2;

struct L2 {
    AVX2 static __m256 step(__m256 acc, __m256 a, __m256 b) {
        __m256 diff = _mm256_sub_ps(a, b);
        return _mm256_fmadd_ps(diff, diff, acc);
    }
    static float step(float a, float b) { return (a - b) * (a - b); }
};

struct Dot {
    AVX2 static __m256 step(__m256 acc, __m256 a, __m256 b) { return _mm256_fmadd_ps(a, b, acc); }
    static float step(float a, float b) { return a * b; }
};

AVX2 inline float horizontal_sum(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_shuffle_ps(s, s, 1));
    return _mm_cvtss_f32(s);
}

// Four sums at once hide the latency of the fused multiply-add.
template <class Op>
AVX2 inline float reduce(const float* x, const float* y, size_t d) {
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    size_t i = 0;
    for (; i + 32 <= d; i += 32) {
        s0 = Op::step(s0, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i));
        s1 = Op::step(s1, _mm256_loadu_ps(x + i + 8), _mm256_loadu_ps(y + i + 8));
        s2 = Op::step(s2, _mm256_loadu_ps(x + i + 16), _mm256_loadu_ps(y + i + 16));
        s3 = Op::step(s3, _mm256_loadu_ps(x + i + 24), _mm256_loadu_ps(y + i + 24));
    }
    for (; i + 8 <= d; i += 8) {
        s0 = Op::step(s0, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i));
    }
    float rest = 0;
    for (; i < d; i++) rest += Op::step(x[i], y[i]);
    return horizontal_sum(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3))) + rest;
}

AVX2 float l2sqr_avx2(const float* x, const float* y, size_t d) { return reduce<L2>(x, y, d); }

AVX2 float inner_product_avx2(const float* x, const float* y, size_t d) {
    return reduce<Dot>(x, y, d);
}

} // namespace

extern "C" {

float L2SQR(__wrap_)(const float* x, const float* y, size_t d) {
    return use_avx2 ? l2sqr_avx2(x, y, d) : L2SQR(__real_)(x, y, d);
}

float INNER_PRODUCT(__wrap_)(const float* x, const float* y, size_t d) {
    return use_avx2 ? inner_product_avx2(x, y, d) : INNER_PRODUCT(__real_)(x, y, d);
}

float NORM_L2SQR(__wrap_)(const float* x, size_t d) {
    return use_avx2 ? inner_product_avx2(x, x, d) : NORM_L2SQR(__real_)(x, d);
}

float facet_l2sqr(const float* x, const float* y, size_t d) { return L2SQR(__wrap_)(x, y, d); }

float facet_inner_product(const float* x, const float* y, size_t d) {
    return INNER_PRODUCT(__wrap_)(x, y, d);
}

float facet_norm_l2sqr(const float* x, size_t d) { return NORM_L2SQR(__wrap_)(x, d); }

int facet_fast_kernels(int on) {
    use_avx2 = on && can_avx2;
    return can_avx2;
}

} // extern "C"
