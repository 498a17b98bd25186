// Built on x86-64 only. Each function names the instructions it needs, so the rest of the program does not.
#include <immintrin.h>

#include <algorithm>
#include <limits>

#include "freelunch/kernels/attention_tiles.h"

#define FREELUNCH_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace freelunch::kernels {
namespace {

constexpr int64_t kLanes = 16;
constexpr float kLog2E = 1.44269504F;

__mmask16 first_of(int64_t n) {
  return static_cast<__mmask16>((1U << static_cast<unsigned>(std::clamp<int64_t>(n, 0, kLanes))) - 1U);
}

struct Square {
  __m512i rows[16];  // NOLINT(*-avoid-c-arrays): a template argument would lose the type's alignment
  __m512i& operator[](size_t i) { return rows[i]; }
};

FREELUNCH_AVX512_BF16 __m512 floats(__m512i words) { return _mm512_castsi512_ps(words); }

/// Words, (16, 16): pairs of rows, then pairs of pairs, until the lanes are the rows.
FREELUNCH_AVX512_BF16 inline __attribute__((always_inline)) void transpose_square(Square& rows) {
  Square half;
#pragma GCC unroll 8
  for (size_t i = 0; i < 16; i += 2) {
    half[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    half[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 16; i += 4) {  // rows[i + j] now has columns j, j + 4, j + 8 and j + 12 of four rows
    rows[i] = _mm512_unpacklo_epi64(half[i], half[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(half[i], half[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(half[i + 1], half[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(half[i + 1], half[i + 3]);
  }
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; ++j) {
    const __m512i low = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0x88);
    const __m512i low_odd = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0xdd);
    const __m512i high = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0x88);
    const __m512i high_odd = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0xdd);
    half[j] = _mm512_shuffle_i32x4(low, high, 0x88);
    half[j + 8] = _mm512_shuffle_i32x4(low, high, 0xdd);
    half[j + 4] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    half[j + 12] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
  }
  rows = half;
}

FREELUNCH_AVX512_BF16 void pair_columns(int64_t n, int64_t width, int64_t stride, const Bf16* rows,
                                        uint32_t* to) {
  Square square;
  for (int64_t begin = 0; begin < n; begin += kLanes) {
    const int64_t count = std::min(kLanes, n - begin);
    for (int64_t c = 0; c < width / 2; c += kLanes) {
      const __mmask16 columns = first_of(width / 2 - c);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kLanes; ++r) {
        square[r] = r < count ? _mm512_maskz_loadu_epi32(columns, rows + (begin + r) * stride + 2 * c)
                              : _mm512_setzero_si512();
      }
      transpose_square(square);
      const int64_t filled = std::min(kLanes, width / 2 - c);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i)
        if (i < filled) _mm512_mask_storeu_epi32(to + (c + i) * n + begin, first_of(count), square[i]);
    }
  }
}

/// Two rows as words: the one below in the low halves.
FREELUNCH_AVX512_BF16 inline __attribute__((always_inline)) __m512i paired(__m256i low, __m256i high) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

FREELUNCH_AVX512_BF16 void transpose(int64_t n, int64_t width, int64_t stride, const Bf16* rows,
                                     int64_t to_stride, Bf16* to) {
  Square square;
  for (int64_t begin = 0; begin < n; begin += 2 * kLanes) {
    const int64_t count = std::min(2 * kLanes, n - begin);
    for (int64_t c = 0; c < width; c += kLanes) {
      const __mmask16 columns = first_of(width - c);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kLanes; ++r) {
        const Bf16* from = rows + (begin + 2 * r) * stride + c;
        const __mmask16 odd = 2 * r + 1 < count ? columns : static_cast<__mmask16>(0);
        square[r] = 2 * r < count ? paired(_mm256_maskz_loadu_epi16(columns, from),
                                           _mm256_maskz_loadu_epi16(odd, from + stride))
                                  : _mm512_setzero_si512();
      }
      transpose_square(square);
      const int64_t filled = std::min(kLanes, width - c);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) {
        if (i < filled)
          _mm512_mask_storeu_epi32(to + (c + i) * to_stride + begin, first_of((count + 1) / 2), square[i]);
      }
    }
  }
}

FREELUNCH_AVX512_BF16 void transpose_scaled(int64_t n, int64_t width, int64_t from_stride, const float* from,
                                            const float* factor, int64_t stride, Bf16* rows) {
  Square square;
  for (int64_t begin = 0; begin < n; begin += kLanes) {
    const int64_t count = std::min(kLanes, n - begin);
    const __mmask16 lanes = first_of(count);
    const __m512 scale = _mm512_maskz_loadu_ps(lanes, factor + begin);
    for (int64_t c = 0; c < width; c += kLanes) {
      const int64_t filled = std::min(kLanes, width - c);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) {
        square[i] = i < filled
                        ? _mm512_castps_si512(_mm512_mul_ps(
                              scale, _mm512_maskz_loadu_ps(lanes, from + (c + i) * from_stride + begin)))
                        : _mm512_setzero_si512();
      }
      transpose_square(square);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kLanes; ++r) {
        if (r < count) {
          _mm256_mask_storeu_epi16(rows + (begin + r) * stride + c, first_of(filled),
                                   reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(floats(square[r]))));
        }
      }
    }
  }
}

/// 2^x to 3 parts in a million, a hundredth of what bf16 resolves; 2^-126 below that. By the nearest integer
/// and a minimax polynomial of degree 4 on what is left. NaN stays NaN.
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
  return floats(
      _mm512_add_epi32(_mm512_castps_si512(p), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
}

/// Of each even word the low half, of each odd one the high half: what pairs two rows.
FREELUNCH_AVX512_BF16 inline __attribute__((always_inline)) __m512i interleaved(__m512bh rows) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                         22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, reinterpret_cast<__m512i>(rows));
}

/// Sixteen queries of a tile.
struct Strip {
  int64_t first;     ///< query
  __mmask16 lanes;   ///< which of them there are
  int64_t seen;      ///< keys that all of them see
  int64_t any_seen;  ///< keys that some of them see
  int64_t offset;    ///< first query's position less first key's

  Strip(const Tile& tile, int64_t query)
      : first(query),
        lanes(first_of(tile.queries - query)),
        seen(std::clamp<int64_t>(query + tile.offset + 1, 0, tile.keys)),
        any_seen(std::clamp<int64_t>(query + tile.offset + kLanes, 0, tile.keys)),
        offset(query + tile.offset) {}
  /// Which queries see key k.
  __mmask16 see(int64_t k) const {
    return k < any_seen ? static_cast<__mmask16>(lanes & ~first_of(k - offset)) : static_cast<__mmask16>(0);
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

FREELUNCH_AVX512_BF16 void softmax_backward(const Tile& tile, const float* all_scores,
                                            const float* all_d_weights, const float* log_sum,
                                            const float* delta, Bf16* all_weights, Bf16* all_d_scores,
                                            uint32_t* all_paired) {
  const int64_t n = tile.queries;
  const __m512 scale = _mm512_set1_ps(tile.scale * kLog2E);
  for (int64_t q = 0; q < n; q += kLanes) {
    const Strip strip(tile, q);
    const __m512 least =
        _mm512_mul_ps(_mm512_maskz_loadu_ps(strip.lanes, log_sum + q), _mm512_set1_ps(kLog2E));
    const __m512 mean = _mm512_maskz_loadu_ps(strip.lanes, delta + q);
    const auto put_rows = [&](Bf16* to, int64_t k, __m512bh rows) FREELUNCH_AVX512_BF16 {
      const auto both = reinterpret_cast<__m512i>(rows);
      _mm256_mask_storeu_epi16(to + k * n + q, strip.lanes, _mm512_castsi512_si256(both));
      _mm256_mask_storeu_epi16(to + (k + 1) * n + q, strip.lanes, _mm512_extracti64x4_epi64(both, 1));
    };
    const auto put = [&](int64_t k, __mmask16 even, __mmask16 odd) FREELUNCH_AVX512_BF16 {
      const auto weight = [&](int64_t key, __mmask16 which) FREELUNCH_AVX512_BF16 {
        const __m512 score = _mm512_maskz_loadu_ps(which, all_scores + key * n + q);
        return _mm512_maskz_mov_ps(which, power_of_two(_mm512_fmsub_ps(score, scale, least)));
      };
      const auto d_score = [&](int64_t key, __mmask16 which, __m512 p) FREELUNCH_AVX512_BF16 {
        const __m512 d = _mm512_maskz_loadu_ps(which, all_d_weights + key * n + q);
        return _mm512_mul_ps(p, _mm512_sub_ps(d, mean));
      };
      const __m512 a = weight(k, even);
      const __m512 b = weight(k + 1, odd);
      put_rows(all_weights, k, _mm512_cvtne2ps_pbh(b, a));
      const __m512bh d = _mm512_cvtne2ps_pbh(d_score(k + 1, odd, b), d_score(k, even, a));
      put_rows(all_d_scores, k, d);
      _mm512_mask_storeu_epi32(all_paired + k / 2 * n + q, strip.lanes, interleaved(d));
    };
    int64_t k = 0;
    for (; k + 1 < strip.seen; k += 2) put(k, strip.lanes, strip.lanes);
    for (; k < strip.any_seen; k += 2) put(k, strip.see(k), strip.see(k + 1));
    for (; k < tile.keys; k += 2) {
      put_rows(all_weights, k, reinterpret_cast<__m512bh>(_mm512_setzero_si512()));
      put_rows(all_d_scores, k, reinterpret_cast<__m512bh>(_mm512_setzero_si512()));
      _mm512_mask_storeu_epi32(all_paired + k / 2 * n + q, strip.lanes, _mm512_setzero_si512());
    }
  }
}

FREELUNCH_AVX512_BF16 void row_dots(int64_t n, int64_t width, int64_t stride, const Bf16* a, const Bf16* b,
                                    float* delta) {
  for (int64_t r = 0; r < n; ++r, a += stride, b += stride) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < width; c += 2 * kLanes) {
      const __mmask16 pairs = first_of((width - c) / 2);
      sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(pairs, a + c)),
                             reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(pairs, b + c)));
    }
    delta[r] = _mm512_reduce_add_ps(sum);
  }
}

}  // namespace

const AttentionTiles* avx512_attention_tiles() {
  static constexpr AttentionTiles kAvx512{&pair_columns, &transpose,        &transpose_scaled,
                                          &softmax,      &softmax_backward, &row_dots};
  static const bool found = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
  return found ? &kAvx512 : nullptr;
}

}  // namespace freelunch::kernels
