#include "kernels/matrix_rate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>

namespace freelunch::benchmarks {

double matrix_product_rate(at::ScalarType dtype) {
  constexpr int64_t kRows = 2048, kWidth = 1024;
  constexpr int kRepeats = 5;
  const at::NoGradGuard no_grad;
  const auto options = at::TensorOptions().dtype(dtype);
  const at::Tensor a = at::ones({kRows, kWidth}, options);
  const at::Tensor b = at::ones({kWidth, kWidth}, options);
  at::Tensor c = at::mm(a, b);
  double best = 1e30;
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    at::mm_out(c, a, b);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * kRows * kWidth * kWidth / best;
}

}  // namespace freelunch::benchmarks
