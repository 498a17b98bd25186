#include "kernels/conjugate_gradients.h"

#include <algorithm>

namespace freelunch::kernels {
namespace {

constexpr double kTiny = 1e-30;

FREELUNCH_INLINE Bf16 high_of(float x) { return to_bf16(x); }
FREELUNCH_INLINE Bf16 low_of(float x) { return to_bf16(x - to_float(to_bf16(x))); }

}  // namespace

FREELUNCH_CLONES void split_row(int64_t n, const float* x, Bf16* high, Bf16* low) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) high[i] = high_of(x[i]);
  if (low == nullptr) return;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) low[i] = low_of(x[i]);
}

FREELUNCH_CLONES void split_row_pair(int64_t n, const float* even, const float* odd, uint32_t* high,
                                     uint32_t* low) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    high[i] = high_of(even[i]) | static_cast<uint32_t>(high_of(odd[i])) << 16U;
    low[i] = low_of(even[i]) | static_cast<uint32_t>(low_of(odd[i])) << 16U;
  }
}

FREELUNCH_CLONES double begin_row(int64_t n, const GradientRow& r, const float* dense, const float* image,
                                  const float* extra) {
  const GradientRow row = r;
  float rz = 0;
#pragma omp simd reduction(+ : rz)
  for (int64_t i = 0; i < n; ++i) {
    const float more = extra == nullptr ? 0.0F : extra[i];
    const float gap = image[i] + row.shift * (dense[i] - row.w[i]) + more;
    const float residual = row.kept[i] ? gap : 0.0F;
    const float z = residual * row.inverse_diagonal[i];
    row.residual[i] = residual;
    row.direction[i] = to_bf16(z);
    rz += residual * z;
  }
  return rz;
}

FREELUNCH_CLONES double advance_row(int64_t n, const GradientRow& r, const float* image, double rz) {
  const GradientRow row = r;
  float curvature = 0;  // the direction is zero off the support, so the image there does not matter
  float slope = 0;
#pragma omp simd reduction(+ : curvature, slope)
  for (int64_t i = 0; i < n; ++i) {
    const float d = to_float(row.direction[i]);
    curvature += d * (image[i] + row.shift * d);
    slope += d * row.residual[i];
  }
  const float step = slope / std::max(curvature, static_cast<float>(kTiny));
  float next = 0;
#pragma omp simd reduction(+ : next)
  for (int64_t i = 0; i < n; ++i) {
    const float d = to_float(row.direction[i]);
    row.w[i] += step * d;
    const float change = step * (image[i] + row.shift * d);
    const float residual = row.kept[i] ? row.residual[i] - change : 0.0F;
    row.residual[i] = residual;
    next += residual * residual * row.inverse_diagonal[i];
  }
  const auto keep = static_cast<float>(next / std::max(rz, kTiny));
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float d = to_float(row.direction[i]) * keep + row.residual[i] * row.inverse_diagonal[i];
    row.direction[i] = to_bf16(d);
  }
  return next;
}

FREELUNCH_CLONES double dot_row(int64_t n, const float* a, const float* b) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += 1024) {
    const int64_t end = std::min<int64_t>(begin + 1024, n);
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = begin; i < end; ++i) part += a[i] * b[i];
    total += part;
  }
  return total;
}

}  // namespace freelunch::kernels
