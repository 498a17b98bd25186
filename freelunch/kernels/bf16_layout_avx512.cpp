#include "freelunch/kernels/avx512.h"
#include "freelunch/kernels/bf16_layout.h"

namespace freelunch::kernels {
namespace {

struct Square {
  __m512i rows[16];  // NOLINT(*-avoid-c-arrays): a template argument would lose the type's alignment
  __m512i& operator[](size_t i) { return rows[i]; }
};

/// Transposes 16 x 16 words: first pairs of rows are interleaved, then pairs of pairs, until lanes and rows
/// have changed places.
FREELUNCH_AVX512_BF16 inline __attribute__((always_inline)) void transpose_square(Square& rows) {
  Square mixed;
#pragma GCC unroll 8
  for (size_t i = 0; i < 16; i += 2) {
    mixed[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    mixed[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (size_t i = 0; i < 16; i += 4) {  // rows[i + j] now has columns j, j + 4, j + 8 and j + 12 of four rows
    rows[i] = _mm512_unpacklo_epi64(mixed[i], mixed[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(mixed[i], mixed[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(mixed[i + 1], mixed[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(mixed[i + 1], mixed[i + 3]);
  }
#pragma GCC unroll 4
  for (size_t j = 0; j < 4; ++j) {
    const __m512i low = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0x88);
    const __m512i low_odd = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0xdd);
    const __m512i high = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0x88);
    const __m512i high_odd = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0xdd);
    mixed[j] = _mm512_shuffle_i32x4(low, high, 0x88);
    mixed[j + 8] = _mm512_shuffle_i32x4(low, high, 0xdd);
    mixed[j + 4] = _mm512_shuffle_i32x4(low_odd, high_odd, 0x88);
    mixed[j + 12] = _mm512_shuffle_i32x4(low_odd, high_odd, 0xdd);
  }
  rows = mixed;
}

FREELUNCH_AVX512_BF16 void transpose_to_vnni(int64_t n, int64_t width, Strided<const Bf16> rows,
                                             uint32_t* to) {
  Square square;
  for (int64_t begin = 0; begin < n; begin += kLanes) {
    const int64_t count = std::min(kLanes, n - begin);
    for (int64_t c = 0; c < width / 2; c += kLanes) {
      const __mmask16 columns = first_lanes(width / 2 - c);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kLanes; ++r) {
        square[r] = r < count
                        ? _mm512_maskz_loadu_epi32(columns, rows.data + (begin + r) * rows.stride + 2 * c)
                        : _mm512_setzero_si512();
      }
      transpose_square(square);
      const int64_t filled = std::min(kLanes, width / 2 - c);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i)
        if (i < filled) _mm512_mask_storeu_epi32(to + (c + i) * n + begin, first_lanes(count), square[i]);
    }
  }
}

/// Two rows as words: `low` in the low halves, `high` in the high halves.
FREELUNCH_AVX512_BF16 inline __attribute__((always_inline)) __m512i paired(__m256i low, __m256i high) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

FREELUNCH_AVX512_BF16 void transpose(int64_t n, int64_t width, Strided<const Bf16> rows, Strided<Bf16> to) {
  Square square;
  for (int64_t begin = 0; begin < n; begin += 2 * kLanes) {
    const int64_t count = std::min(2 * kLanes, n - begin);
    for (int64_t c = 0; c < width; c += kLanes) {
      const __mmask16 columns = first_lanes(width - c);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kLanes; ++r) {
        const Bf16* from = rows.data + (begin + 2 * r) * rows.stride + c;
        const __mmask16 odd = 2 * r + 1 < count ? columns : static_cast<__mmask16>(0);
        square[r] = 2 * r < count ? paired(_mm256_maskz_loadu_epi16(columns, from),
                                           _mm256_maskz_loadu_epi16(odd, from + rows.stride))
                                  : _mm512_setzero_si512();
      }
      transpose_square(square);
      const int64_t filled = std::min(kLanes, width - c);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) {
        if (i < filled)
          _mm512_mask_storeu_epi32(to.data + (c + i) * to.stride + begin, first_lanes((count + 1) / 2),
                                   square[i]);
      }
    }
  }
}

FREELUNCH_AVX512_BF16 void transpose_scaled(int64_t n, int64_t width, Strided<const float> from,
                                            const float* factor, Strided<Bf16> to) {
  Square square;
  for (int64_t begin = 0; begin < n; begin += kLanes) {
    const int64_t count = std::min(kLanes, n - begin);
    const __mmask16 lanes = first_lanes(count);
    const __m512 scale = _mm512_maskz_loadu_ps(lanes, factor + begin);
    for (int64_t c = 0; c < width; c += kLanes) {
      const int64_t filled = std::min(kLanes, width - c);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) {
        square[i] = i < filled
                        ? _mm512_castps_si512(_mm512_mul_ps(
                              scale, _mm512_maskz_loadu_ps(lanes, from.data + (c + i) * from.stride + begin)))
                        : _mm512_setzero_si512();
      }
      transpose_square(square);
#pragma GCC unroll 16
      for (int64_t r = 0; r < kLanes; ++r) {
        if (r < count) {
          _mm256_mask_storeu_epi16(
              to.data + (begin + r) * to.stride + c, first_lanes(filled),
              reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_castsi512_ps(square[r]))));
        }
      }
    }
  }
}

}  // namespace

const Bf16Layout* avx512_bf16_layout() {
  static constexpr Bf16Layout kAvx512{.transpose_to_vnni = &transpose_to_vnni,
                                      .transpose = &transpose,
                                      .transpose_scaled = &transpose_scaled};
  return has_avx512_bf16() ? &kAvx512 : nullptr;
}

}  // namespace freelunch::kernels
