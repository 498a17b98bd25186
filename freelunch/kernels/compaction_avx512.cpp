// x86-64 only. Each function names the instructions it needs, so the rest of the program does not need them.
#include <immintrin.h>

#include "freelunch/kernels/compaction.h"

#define FREELUNCH_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,popcnt")))

namespace freelunch::kernels {
namespace {

FREELUNCH_AVX512 inline __m512i load(const Bf16* from) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
FREELUNCH_AVX512 inline __m512i load(const uint32_t* from) { return _mm512_loadu_si512(from); }
FREELUNCH_AVX512 inline void put(__m512i values, Bf16* to) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(values));
}
FREELUNCH_AVX512 inline void put(__m512i values, uint32_t* to) { _mm512_storeu_si512(to, values); }

template <typename From>
FREELUNCH_AVX512 int64_t gather(const uint64_t* retained, int64_t n, const From* from, uint32_t* to) {
  const uint32_t* start = to;
  for (int64_t i = 0; i < n; i += 64) {
    for (int64_t j = 0; j < 4; ++j) {
      const auto bits = static_cast<__mmask16>(retained[i / 64] >> static_cast<unsigned>(16 * j));
      // compress in the register and store all sixteen: the compressing store is several times slower
      _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(bits, load(from + i + 16 * j)));
      to += __builtin_popcount(bits);
    }
  }
  return to - start;
}

template <typename To>
FREELUNCH_AVX512 void scatter(const uint64_t* retained, int64_t n, const uint32_t* from, To* to) {
  for (int64_t i = 0; i < n; i += 64) {
    for (int64_t j = 0; j < 4; ++j) {
      const auto bits = static_cast<__mmask16>(retained[i / 64] >> static_cast<unsigned>(16 * j));
      put(_mm512_maskz_expand_epi32(bits, _mm512_loadu_si512(from)), to + i + 16 * j);
      from += __builtin_popcount(bits);
    }
  }
}

}  // namespace

const Compaction* avx512_compaction() {
  static constexpr Compaction kAvx512{&gather<Bf16>, &gather<uint32_t>, &scatter<Bf16>, &scatter<uint32_t>};
  static const bool found = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                            __builtin_cpu_supports("avx512vl");
  return found ? &kAvx512 : nullptr;
}

}  // namespace freelunch::kernels
