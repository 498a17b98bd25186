// Built on x86-64 only. Each function names the instructions it needs, so the rest of the program does not.
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "freelunch/kernels/paired_product.h"

#define FREELUNCH_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16")))

namespace freelunch::kernels {
namespace {

// Of a tile whose sums stay in registers: 24 for them, 2 for b, 1 for a, of 32.
constexpr int64_t kRows = 12;
constexpr int64_t kColumns = 32;

struct Sums {
  __m512 left, right;
};
struct Columns {
  __mmask16 left, right;  // which of the tile's columns there are
};

/// `rows` rows and up to kColumns columns of the product.
template <int64_t rows>
FREELUNCH_AVX512_BF16 void tile(const Columns& columns, int64_t pairs, const Bf16* a, int64_t a_stride,
                                const uint32_t* b, int64_t b_stride, float* c, int64_t c_stride, bool add) {
  std::array<Sums, rows> sums;
#pragma GCC unroll 12
  for (int64_t r = 0; r < rows; ++r) {
    sums[r].left = add ? _mm512_maskz_loadu_ps(columns.left, c + r * c_stride) : _mm512_setzero_ps();
    sums[r].right = add ? _mm512_maskz_loadu_ps(columns.right, c + r * c_stride + 16) : _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < pairs; ++p, b += b_stride) {
    const auto left = reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(columns.left, b));
    const auto right = reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(columns.right, b + 16));
#pragma GCC unroll 12
    for (int64_t r = 0; r < rows; ++r) {
      int32_t word = 0;
      std::memcpy(&word, a + r * a_stride + 2 * p, sizeof word);
      const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(word));
      sums[r].left = _mm512_dpbf16_ps(sums[r].left, factor, left);
      sums[r].right = _mm512_dpbf16_ps(sums[r].right, factor, right);
    }
  }
#pragma GCC unroll 12
  for (int64_t r = 0; r < rows; ++r) {
    _mm512_mask_storeu_ps(c + r * c_stride, columns.left, sums[r].left);
    _mm512_mask_storeu_ps(c + r * c_stride + 16, columns.right, sums[r].right);
  }
}

using Tile = void (*)(const Columns&, int64_t, const Bf16*, int64_t, const uint32_t*, int64_t, float*,
                      int64_t, bool);

template <size_t... rows>
constexpr std::array<Tile, sizeof...(rows)> tiles_of(std::index_sequence<rows...>) {
  return {&tile<static_cast<int64_t>(rows) + 1>...};
}
constexpr std::array<Tile, kRows> kTiles = tiles_of(std::make_index_sequence<kRows>());

__mmask16 first_of(int64_t n) {
  return static_cast<__mmask16>((1U << static_cast<unsigned>(std::clamp<int64_t>(n, 0, 16))) - 1U);
}

void paired_product(int64_t m, int64_t n, int64_t k, const Bf16* a, int64_t a_stride, const uint32_t* b,
                    int64_t b_stride, float* c, int64_t c_stride, bool add) {
  for (int64_t column = 0; column < n; column += kColumns) {
    const Columns columns{.left = first_of(n - column), .right = first_of(n - column - 16)};
    // alike in height: a low one has too few sums to hide how long one takes
    for (int64_t row = 0, left = (m + kRows - 1) / kRows; left > 0; --left) {
      const int64_t rows = (m - row + left - 1) / left;
      kTiles[static_cast<size_t>(rows - 1)](columns, k / 2, a + row * a_stride, a_stride, b + column,
                                            b_stride, c + row * c_stride + column, c_stride, add);
      row += rows;
    }
  }
}

}  // namespace

PairedProduct avx512_paired_product() {
  static const bool serves = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                             __builtin_cpu_supports("avx512bf16");
  return serves ? &paired_product : nullptr;
}

}  // namespace freelunch::kernels
