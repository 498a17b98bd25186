#include "kernels/column_squares.h"

#include <algorithm>
#include <array>

namespace freelunch::kernels {
namespace {

constexpr int64_t kPanel = 128;  // columns
constexpr int64_t kRows = 64;

template <typename T>
FREELUNCH_INLINE void panel_of(int64_t rows, int64_t columns, int64_t stride, const T* x, double* sums) {
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    std::array<float, kPanel> part{};
    for (int64_t r = begin; r < std::min(begin + kRows, rows); ++r) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c) {
        const float value = to_float(x[r * stride + c]);
        part[static_cast<size_t>(c)] += value * value;
      }
    }
    for (int64_t c = 0; c < columns; ++c) sums[c] += part[static_cast<size_t>(c)];
  }
}

FREELUNCH_CLONES void panel(int64_t rows, int64_t columns, int64_t stride, const Bf16* x, double* sums) {
  panel_of(rows, columns, stride, x, sums);
}
FREELUNCH_CLONES void panel(int64_t rows, int64_t columns, int64_t stride, const float* x, double* sums) {
  panel_of(rows, columns, stride, x, sums);
}

}  // namespace

template <typename T>
void add_column_squares(int64_t rows, int64_t width, const T* x, double* sums) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < width; c += kPanel)
    panel(rows, std::min(kPanel, width - c), width, x + c, sums + c);
}

template void add_column_squares(int64_t, int64_t, const Bf16*, double*);
template void add_column_squares(int64_t, int64_t, const float*, double*);

}  // namespace freelunch::kernels
