#include <algorithm>
#include <limits>

#include "freelunch/kernels/attention_tiles.h"
#include "freelunch/kernels/avx512.h"

namespace freelunch::kernels {
namespace {

constexpr float kLog2E = 1.44269504F;

/// 2^x with a relative error of 3e-6, a hundredth of the resolution of bf16; 2^-126 for x below -126. Splits
/// x into the nearest integer and a rest, whose power is a minimax polynomial of degree 4. NaN stays NaN.
FREELUNCH_AVX512_BF16 inline __attribute__((always_inline)) __m512 power_of_two(__m512 x) {
  const __m512 round = _mm512_set1_ps(12582912.0F);  // 1.5 * 2^23: the integer is then in the low bits
  const __m512 clamped = _mm512_max_ps(_mm512_set1_ps(-126.0F), x);
  const __m512 shifted = _mm512_add_ps(clamped, round);
  const __m512 r = _mm512_sub_ps(clamped, _mm512_sub_ps(shifted, round));
  __m512 p = _mm512_set1_ps(0.00957010188F);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.0559178618F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.240247448F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.693121815F));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.999999261F));
  return _mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
}

/// The 32 halves a0 .. a15, b0 .. b15 (a in the low half of the register) in the order a0, b0, a1, b1, ...:
/// the VNNI layout of the two rows a and b.
FREELUNCH_AVX512_BF16 inline __attribute__((always_inline)) __m512i interleaved(__m512bh rows) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, reinterpret_cast<__m512i>(rows));
}

/// Sixteen consecutive queries of a tile.
struct Strip {
  __mmask16 lanes;   ///< the lanes that hold a query of the tile
  int64_t seen;      ///< number of keys that all of these queries see
  int64_t any_seen;  ///< number of keys that at least one of them sees
  int64_t offset;    ///< position of the first query minus position of the first key

  Strip(const Tile& tile, int64_t query)
      : lanes(first_lanes(tile.queries - query)),
        seen(std::clamp<int64_t>(query + tile.offset + 1, 0, tile.keys)),
        any_seen(std::clamp<int64_t>(query + tile.offset + kLanes, 0, tile.keys)),
        offset(query + tile.offset) {}
  /// The lanes whose queries see key k.
  __mmask16 see(int64_t k) const {
    return k < any_seen ? static_cast<__mmask16>(lanes & ~first_lanes(k - offset))
                        : static_cast<__mmask16>(0);
  }
};

FREELUNCH_AVX512_BF16 void softmax(const Tile& tile, const float* all_scores, uint32_t* all_weights,
                                   const RunningSoftmax& running, float* rescale) {
  const int64_t n = tile.queries;
  const __m512 scale = _mm512_set1_ps(tile.scale * kLog2E);
  for (int64_t q = 0; q < n; q += kLanes) {
    const Strip strip(tile, q);
    const float* scores = all_scores + q;
    uint32_t* weights = all_weights + q;
    const auto row = [&](int64_t k, __mmask16 which)
                         FREELUNCH_AVX512_BF16 { return _mm512_maskz_loadu_ps(which, scores + k * n); };
    __m512 top = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
    for (int64_t k = 0; k < strip.seen; ++k) top = _mm512_max_ps(top, row(k, strip.lanes));
    for (int64_t k = strip.seen; k < strip.any_seen; ++k)
      top = _mm512_mask_max_ps(top, strip.see(k), top, row(k, strip.see(k)));
    const __m512 before = _mm512_maskz_loadu_ps(strip.lanes, running.largest + q);
    const __m512 largest = _mm512_max_ps(before, _mm512_mul_ps(top, _mm512_set1_ps(tile.scale)));
    const __m512 shrink = power_of_two(_mm512_mul_ps(_mm512_sub_ps(before, largest), _mm512_set1_ps(kLog2E)));
    const __m512 least = _mm512_mul_ps(largest, _mm512_set1_ps(kLog2E));
    const auto weight = [&](int64_t k, __mmask16 which) FREELUNCH_AVX512_BF16 {
      return _mm512_maskz_mov_ps(which, power_of_two(_mm512_fmsub_ps(row(k, which), scale, least)));
    };
    __m512 even_sum = _mm512_setzero_ps();
    __m512 odd_sum = _mm512_setzero_ps();
    const auto put = [&](int64_t k, __mmask16 even, __mmask16 odd) FREELUNCH_AVX512_BF16 {
      const __m512 a = weight(k, even);
      const __m512 b = weight(k + 1, odd);
      even_sum = _mm512_add_ps(even_sum, a);
      odd_sum = _mm512_add_ps(odd_sum, b);
      _mm512_mask_storeu_epi32(weights + k / 2 * n, strip.lanes, interleaved(_mm512_cvtne2ps_pbh(b, a)));
    };
    int64_t k = 0;
    for (; k + 1 < strip.seen; k += 2) put(k, strip.lanes, strip.lanes);
    for (; k < strip.any_seen; k += 2) put(k, strip.see(k), strip.see(k + 1));
    for (; k < tile.keys; k += 2)
      _mm512_mask_storeu_epi32(weights + k / 2 * n, strip.lanes, _mm512_setzero_si512());
    const __m512 sum = _mm512_maskz_loadu_ps(strip.lanes, running.sum + q);
    _mm512_mask_storeu_ps(running.sum + q, strip.lanes,
                          _mm512_fmadd_ps(sum, shrink, _mm512_add_ps(even_sum, odd_sum)));
    _mm512_mask_storeu_ps(running.largest + q, strip.lanes, largest);
    _mm512_mask_storeu_ps(rescale + q, strip.lanes, shrink);
  }
}

FREELUNCH_AVX512_BF16 void softmax_backward(const Tile& tile, const SoftmaxGradients& given,
                                            const ScoreGradients& out) {
  const int64_t n = tile.queries;
  const __m512 scale = _mm512_set1_ps(tile.scale * kLog2E);
  for (int64_t q = 0; q < n; q += kLanes) {
    const Strip strip(tile, q);
    const __m512 least =
        _mm512_mul_ps(_mm512_maskz_loadu_ps(strip.lanes, given.log_sum + q), _mm512_set1_ps(kLog2E));
    const __m512 mean = _mm512_maskz_loadu_ps(strip.lanes, given.delta + q);
    const auto put_rows = [&](Bf16* to, int64_t k, __m512bh rows) FREELUNCH_AVX512_BF16 {
      const auto both = reinterpret_cast<__m512i>(rows);
      _mm256_mask_storeu_epi16(to + k * n + q, strip.lanes, _mm512_castsi512_si256(both));
      _mm256_mask_storeu_epi16(to + (k + 1) * n + q, strip.lanes, _mm512_extracti64x4_epi64(both, 1));
    };
    const auto put = [&](int64_t k, __mmask16 even, __mmask16 odd) FREELUNCH_AVX512_BF16 {
      const auto weight = [&](int64_t key, __mmask16 which) FREELUNCH_AVX512_BF16 {
        const __m512 score = _mm512_maskz_loadu_ps(which, given.scores + key * n + q);
        return _mm512_maskz_mov_ps(which, power_of_two(_mm512_fmsub_ps(score, scale, least)));
      };
      const auto d_score = [&](int64_t key, __mmask16 which, __m512 p) FREELUNCH_AVX512_BF16 {
        const __m512 d = _mm512_maskz_loadu_ps(which, given.d_weights + key * n + q);
        return _mm512_mul_ps(p, _mm512_sub_ps(d, mean));
      };
      const __m512 a = weight(k, even);
      const __m512 b = weight(k + 1, odd);
      put_rows(out.weights, k, _mm512_cvtne2ps_pbh(b, a));
      const __m512bh d = _mm512_cvtne2ps_pbh(d_score(k + 1, odd, b), d_score(k, even, a));
      put_rows(out.d_scores, k, d);
      _mm512_mask_storeu_epi32(out.d_scores_vnni + k / 2 * n + q, strip.lanes, interleaved(d));
    };
    int64_t k = 0;
    for (; k + 1 < strip.seen; k += 2) put(k, strip.lanes, strip.lanes);
    for (; k < strip.any_seen; k += 2) put(k, strip.see(k), strip.see(k + 1));
    for (; k < tile.keys; k += 2) {
      put_rows(out.weights, k, reinterpret_cast<__m512bh>(_mm512_setzero_si512()));
      put_rows(out.d_scores, k, reinterpret_cast<__m512bh>(_mm512_setzero_si512()));
      _mm512_mask_storeu_epi32(out.d_scores_vnni + k / 2 * n + q, strip.lanes, _mm512_setzero_si512());
    }
  }
}

FREELUNCH_AVX512_BF16 void row_dots(int64_t n, int64_t width, int64_t stride, const Bf16* a, const Bf16* b,
                                    float* delta) {
  for (int64_t r = 0; r < n; ++r, a += stride, b += stride) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c += 2 * kLanes) {
      const __mmask16 pairs = first_lanes((width - c) / 2);
      sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(pairs, a + c)),
                             reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(pairs, b + c)));
    }
    delta[r] = _mm512_reduce_add_ps(sum);
  }
}

}  // namespace

const AttentionTiles* avx512_attention_tiles() {
  static constexpr AttentionTiles kAvx512{
      .softmax = &softmax, .softmax_backward = &softmax_backward, .row_dots = &row_dots};
  return has_avx512_bf16() ? &kAvx512 : nullptr;
}

}  // namespace freelunch::kernels
