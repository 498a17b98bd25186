#include <array>
#include <cstring>
#include <utility>

#include "freelunch/kernels/avx512.h"
#include "freelunch/kernels/gemm_vnni.h"

namespace freelunch::kernels {
namespace {

// The size of a tile whose sums stay in registers: 24 registers for the sums, 2 for b and 1 for a, of 32.
constexpr int64_t kRows = 12;
constexpr int64_t kColumns = 32;

struct Sums {
  __m512 left, right;
};
struct Columns {
  __mmask16 left, right;  // the lanes that hold columns of the matrix
};

/// `rows` rows and up to kColumns columns of the product.
template <int64_t rows>
FREELUNCH_AVX512_BF16 void tile(const Columns& columns, int64_t pairs, Strided<const Bf16> a,
                                Strided<const uint32_t> b, Strided<float> c, bool add) {
  const uint32_t* words = b.data;
  std::array<Sums, rows> sums;
#pragma GCC unroll 12
  for (int64_t r = 0; r < rows; ++r) {
    sums[r].left = add ? _mm512_maskz_loadu_ps(columns.left, c.data + r * c.stride) : _mm512_setzero_ps();
    sums[r].right =
        add ? _mm512_maskz_loadu_ps(columns.right, c.data + r * c.stride + 16) : _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < pairs; ++p, words += b.stride) {
    const auto left = reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(columns.left, words));
    const auto right = reinterpret_cast<__m512bh>(_mm512_maskz_loadu_epi32(columns.right, words + 16));
#pragma GCC unroll 12
    for (int64_t r = 0; r < rows; ++r) {
      int32_t word = 0;
      std::memcpy(&word, a.data + r * a.stride + 2 * p, sizeof word);
      const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(word));
      sums[r].left = _mm512_dpbf16_ps(sums[r].left, factor, left);
      sums[r].right = _mm512_dpbf16_ps(sums[r].right, factor, right);
    }
  }
#pragma GCC unroll 12
  for (int64_t r = 0; r < rows; ++r) {
    _mm512_mask_storeu_ps(c.data + r * c.stride, columns.left, sums[r].left);
    _mm512_mask_storeu_ps(c.data + r * c.stride + 16, columns.right, sums[r].right);
  }
}

using TileFunction = void (*)(const Columns&, int64_t, Strided<const Bf16>, Strided<const uint32_t>,
                              Strided<float>, bool);

template <size_t... rows>
constexpr std::array<TileFunction, sizeof...(rows)> tiles_of(std::index_sequence<rows...>) {
  return {&tile<static_cast<int64_t>(rows) + 1>...};
}
constexpr std::array<TileFunction, kRows> kTiles = tiles_of(std::make_index_sequence<kRows>());

void gemm_vnni(const GemmSize& size, Strided<const Bf16> a, Strided<const uint32_t> b, Strided<float> c,
               Output output) {
  for (int64_t column = 0; column < size.n; column += kColumns) {
    const Columns columns{.left = first_lanes(size.n - column),
                          .right = first_lanes(size.n - column - kLanes)};
    // Tiles of equal height: a low tile has too few independent sums to hide the latency of an instruction.
    for (int64_t row = 0, left = (size.m + kRows - 1) / kRows; left > 0; --left) {
      const int64_t rows = (size.m - row + left - 1) / left;
      kTiles[static_cast<size_t>(rows - 1)](
          columns, size.k / 2, {.data = a.data + row * a.stride, .stride = a.stride},
          {.data = b.data + column, .stride = b.stride},
          {.data = c.data + row * c.stride + column, .stride = c.stride}, output == Output::kAdd);
      row += rows;
    }
  }
}

}  // namespace

GemmVnni avx512_gemm_vnni() { return has_avx512_bf16() ? &gemm_vnni : nullptr; }

}  // namespace freelunch::kernels
