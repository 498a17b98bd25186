#include "kernels/paired_product.h"

namespace freelunch::kernels {

void portable_paired_product(int64_t m, int64_t n, int64_t k, const Bf16* a, int64_t a_stride,
                             const uint32_t* b, float* c, int64_t c_stride, bool add) {
  for (int64_t r = 0; r < m; ++r) {
    float* row = c + r * c_stride;
    if (!add)
      for (int64_t j = 0; j < n; ++j) row[j] = 0;
    for (int64_t p = 0; p < k / 2; ++p) {
      const float even = to_float(a[r * a_stride + 2 * p]);
      const float odd = to_float(a[r * a_stride + 2 * p + 1]);
      for (int64_t j = 0; j < n; ++j) {
        const uint32_t word = b[p * n + j];
        row[j] += even * to_float(static_cast<Bf16>(word)) + odd * to_float(static_cast<Bf16>(word >> 16U));
      }
    }
  }
}

}  // namespace freelunch::kernels
