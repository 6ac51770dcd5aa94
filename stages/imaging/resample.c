#include "native.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// The arithmetic is Pillow's (src/libImaging/Resample.c): coefficients of 22 fractional bits, sums in
// 32 bits that begin at one half, then a shift and a clip. Integer sums don't depend on their order, so
// every kernel gives the same bits.

enum { PRECISION = 22, HALF = 1 << (PRECISION - 1), LOW = 15 };

static uint8_t clip(int32_t sum) {
  sum >>= PRECISION;
  return sum < 0 ? 0 : sum > 255 ? 255 : (uint8_t)sum;
}

void facet_horizontal_portable(uint8_t *const out[4], const uint8_t *const in[4], const facet_axis *a) {
  for (int r = 0; r < FACET_GROUP; r++) {
    for (int i = 0; i < a->out; i++) {
      const int32_t *k = a->coef + (size_t)i * a->taps;
      const uint8_t *p = in[r] + (size_t)a->start[i] * 3;
      int32_t s0 = HALF, s1 = HALF, s2 = HALF;
      for (int j = 0; j < a->count[i]; j++, p += 3) {
        s0 += p[0] * k[j];
        s1 += p[1] * k[j];
        s2 += p[2] * k[j];
      }
      uint8_t *o = out[r] + (size_t)i * 3;
      o[0] = clip(s0), o[1] = clip(s1), o[2] = clip(s2);
    }
  }
}

static void vertical_bytes(uint8_t *out, const uint8_t *const *rows, const facet_axis *a, int i,
                           size_t from, size_t to) {
  const int32_t *k = a->coef + (size_t)i * a->taps;
  for (size_t x = from; x < to; x++) {
    int32_t s = HALF;
    for (int j = 0; j < a->count[i]; j++) s += rows[j][x] * k[j];
    out[x] = clip(s);
  }
}

void facet_vertical_portable(uint8_t *out, const uint8_t *const *rows, const facet_axis *a, int i,
                             size_t bytes) {
  vertical_bytes(out, rows, a, i, 0, bytes);
}

#if defined(__x86_64__)

int facet_has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }

// pmaddwd multiplies 16-bit numbers, a coefficient has 23 bits: so each is split into its low 15 bits
// and the rest, and the two sums are joined at the end. Modulo 2^32 that is exact, and twice as fast as
// 32-bit multiplications.

#define AVX2 __attribute__((target("avx2")))

AVX2 static inline __m256i join(__m256i low, __m256i high) {
  return _mm256_add_epi32(low, _mm256_slli_epi32(high, LOW));
}

AVX2 static inline void store_pixel(uint8_t *out, __m256i low, __m256i high) {
  __m256i both = join(low, high);
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  s = _mm_srai_epi32(_mm_add_epi32(s, _mm_set1_epi32(HALF)), PRECISION);
  s = _mm_packs_epi32(s, s);
  int32_t pixel = _mm_cvtsi128_si32(_mm_packus_epi16(s, s));
  memcpy(out, &pixel, 4); // the fourth byte is the next pixel's, or slack
}

// sums are one output pixel of one row while its taps are added up.
typedef struct {
  __m256i low, high;
} sums;

AVX2 static inline sums add_taps(sums s, const uint8_t *at, __m256i pixels, __m256i kl, __m256i kh) {
  __m256i raw = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)at));
  __m256i p = _mm256_shuffle_epi8(raw, pixels);
  s.low = _mm256_add_epi32(s.low, _mm256_madd_epi16(p, kl));
  s.high = _mm256_add_epi32(s.high, _mm256_madd_epi16(p, kh));
  return s;
}

AVX2 void facet_horizontal_avx2(uint8_t *const out[4], const uint8_t *const in[4], const facet_axis *a) {
  // Four pixels of three bytes become R R G G B B 0 0 of the first two, then of the others.
  const __m256i pixels = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1,
                                          9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  const __m256i lows = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6,
                                        7, 4, 5, 6, 7, 4, 5, 6, 7);
  const __m256i highs = _mm256_add_epi8(lows, _mm256_set1_epi8(8));
  const uint8_t *const in0 = in[0], *const in1 = in[1], *const in2 = in[2], *const in3 = in[3];
  for (int i = 0; i < a->out; i++) {
    const int16_t *k = a->split + (size_t)i * a->taps * 2;
    size_t at = (size_t)a->start[i] * 3;
    // Not an array: the compiler would keep it in memory.
    sums s0 = {_mm256_setzero_si256(), _mm256_setzero_si256()}, s1 = s0, s2 = s0, s3 = s0;
    for (int j = a->count[i]; j > 0; j -= 4, k += 8, at += 12) {
      __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)k));
      __m256i kl = _mm256_shuffle_epi8(both, lows), kh = _mm256_shuffle_epi8(both, highs);
      s0 = add_taps(s0, in0 + at, pixels, kl, kh);
      s1 = add_taps(s1, in1 + at, pixels, kl, kh);
      s2 = add_taps(s2, in2 + at, pixels, kl, kh);
      s3 = add_taps(s3, in3 + at, pixels, kl, kh);
    }
    store_pixel(out[0] + (size_t)i * 3, s0.low, s0.high);
    store_pixel(out[1] + (size_t)i * 3, s1.low, s1.high);
    store_pixel(out[2] + (size_t)i * 3, s2.low, s2.high);
    store_pixel(out[3] + (size_t)i * 3, s3.low, s3.high);
  }
}

AVX2 static inline __m256i finish(__m256i low, __m256i high) {
  return _mm256_srai_epi32(_mm256_add_epi32(join(low, high), _mm256_set1_epi32(HALF)), PRECISION);
}

// vertical16 sums 16 neighbouring bytes over the rows, two rows at a time.
AVX2 static inline __m128i vertical16(const uint8_t *const *rows, const int16_t *split, int n, size_t x) {
  __m256i low0 = _mm256_setzero_si256(), low1 = low0, high0 = low0, high1 = low0;
  for (int j = 0; j < n; j += 2) {
    int32_t kl, kh;
    memcpy(&kl, split + (j / 4) * 8 + j % 4, 4);
    memcpy(&kh, split + (j / 4) * 8 + j % 4 + 4, 4);
    __m256i vl = _mm256_set1_epi32(kl), vh = _mm256_set1_epi32(kh);
    __m128i a = _mm_loadu_si128((const __m128i *)(rows[j] + x));
    __m128i b = _mm_loadu_si128((const __m128i *)(rows[j + 1] + x));
    __m256i p0 = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b));
    __m256i p1 = _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b));
    low0 = _mm256_add_epi32(low0, _mm256_madd_epi16(p0, vl));
    low1 = _mm256_add_epi32(low1, _mm256_madd_epi16(p1, vl));
    high0 = _mm256_add_epi32(high0, _mm256_madd_epi16(p0, vh));
    high1 = _mm256_add_epi32(high1, _mm256_madd_epi16(p1, vh));
  }
  __m256i words = _mm256_packs_epi32(finish(low0, high0), finish(low1, high1));
  words = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
  return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

AVX2 void facet_vertical_avx2(uint8_t *out, const uint8_t *const *rows, const facet_axis *a, int i,
                              size_t bytes) {
  const int16_t *split = a->split + (size_t)i * a->taps * 2;
  size_t x = 0;
  for (; x + 16 <= bytes; x += 16)
    _mm_storeu_si128((__m128i *)(out + x), vertical16(rows, split, a->count[i], x));
  if (x < bytes) { // what lies behind out's end is not ours to write
    uint8_t rest[16];
    _mm_storeu_si128((__m128i *)rest, vertical16(rows, split, a->count[i], x));
    memcpy(out + x, rest, bytes - x);
  }
}

#else

int facet_has_avx2(void) { return 0; }

// Never chosen where facet_has_avx2 says no.
void facet_horizontal_avx2(uint8_t *const out[4], const uint8_t *const in[4], const facet_axis *a) {
  facet_horizontal_portable(out, in, a);
}

void facet_vertical_avx2(uint8_t *out, const uint8_t *const *rows, const facet_axis *a, int i,
                         size_t bytes) {
  facet_vertical_portable(out, rows, a, i, bytes);
}

#endif
