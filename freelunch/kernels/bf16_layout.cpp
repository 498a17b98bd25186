#include "freelunch/kernels/bf16_layout.h"

#include <algorithm>
#include <cstring>

namespace freelunch::kernels {
namespace {

constexpr int64_t kSquare = 16;  // transposing squares of 16 x 16 keeps both sides in the L1 cache

FREELUNCH_CLONES void transpose_to_vnni(int64_t n, int64_t width, Strided<const Bf16> rows, uint32_t* to) {
  for (int64_t begin = 0; begin < n; begin += kSquare) {
    const int64_t end = std::min(begin + kSquare, n);
    for (int64_t c = 0; c < width / 2; ++c) {
      for (int64_t r = begin; r < end; ++r) {
        uint32_t word;
        std::memcpy(&word, rows.data + r * rows.stride + 2 * c, sizeof word);
        to[c * n + r] = word;
      }
    }
  }
}

FREELUNCH_CLONES void transpose(int64_t n, int64_t width, Strided<const Bf16> rows, Strided<Bf16> to) {
  for (int64_t begin = 0; begin < n; begin += kSquare) {
    const int64_t end = std::min(begin + kSquare, n);
    for (int64_t c = 0; c < width; ++c)
      for (int64_t r = begin; r < end; ++r) to.data[c * to.stride + r] = rows.data[r * rows.stride + c];
  }
  for (int64_t c = 0; n % 2 != 0 && c < width; ++c) to.data[c * to.stride + n] = 0;
}

FREELUNCH_CLONES void transpose_scaled(int64_t n, int64_t width, Strided<const float> from,
                                       const float* factor, Strided<Bf16> to) {
  for (int64_t begin = 0; begin < n; begin += kSquare) {
    const int64_t end = std::min(begin + kSquare, n);
    for (int64_t r = begin; r < end; ++r)
      for (int64_t c = 0; c < width; ++c)
        to.data[r * to.stride + c] = to_bf16(from.data[c * from.stride + r] * factor[r]);
  }
}

}  // namespace

const Bf16Layout& portable_bf16_layout() {
  static constexpr Bf16Layout kPortable{.transpose_to_vnni = &transpose_to_vnni,
                                        .transpose = &transpose,
                                        .transpose_scaled = &transpose_scaled};
  return kPortable;
}

const Bf16Layout& bf16_layout() {
  static const Bf16Layout& chosen =
      avx512_bf16_layout() != nullptr ? *avx512_bf16_layout() : portable_bf16_layout();
  return chosen;
}

FREELUNCH_CLONES void to_vnni(int64_t n, int64_t width, Strided<const Bf16> rows, uint32_t* to) {
  for (int64_t r = 0; r + 1 < n; r += 2, to += width) {
    const Bf16* low = rows.data + r * rows.stride;
    const Bf16* high = low + rows.stride;
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) to[c] = low[c] | static_cast<uint32_t>(high[c]) << 16U;
  }
  if (n % 2 != 0) std::copy_n(rows.data + (n - 1) * rows.stride, width, to);
}

}  // namespace freelunch::kernels
