#include "freelunch/kernels/column_sums.h"

#include <algorithm>
#include <array>

namespace freelunch::kernels {
namespace {

constexpr int64_t kPanel = 64;  // columns
constexpr int64_t kRows = 64;   // rows summed in fp32

template <typename T>
FREELUNCH_INLINE void panel_of(int64_t rows, int64_t columns, int64_t stride, const T* a, const T* b,
                               double* sums) {
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    std::array<float, kPanel> part{};
    for (int64_t r = begin; r < std::min(begin + kRows, rows); ++r) {
#pragma omp simd
      for (int64_t c = 0; c < columns; ++c)
        part[static_cast<size_t>(c)] += to_float(a[r * stride + c]) * to_float(b[r * stride + c]);
    }
    for (int64_t c = 0; c < columns; ++c) sums[c] += part[static_cast<size_t>(c)];
  }
}

FREELUNCH_CLONES void panel(int64_t rows, int64_t columns, int64_t stride, const Bf16* a, const Bf16* b,
                            double* sums) {
  panel_of(rows, columns, stride, a, b, sums);
}
FREELUNCH_CLONES void panel(int64_t rows, int64_t columns, int64_t stride, const float* a, const float* b,
                            double* sums) {
  panel_of(rows, columns, stride, a, b, sums);
}

}  // namespace

template <typename T>
void add_column_products(int64_t rows, int64_t width, const T* a, const T* b, double* sums) {
#pragma omp parallel for schedule(static)
  for (int64_t c = 0; c < width; c += kPanel)
    panel(rows, std::min(kPanel, width - c), width, a + c, b + c, sums + c);
}

template void add_column_products(int64_t, int64_t, const Bf16*, const Bf16*, double*);
template void add_column_products(int64_t, int64_t, const float*, const float*, double*);

}  // namespace freelunch::kernels
