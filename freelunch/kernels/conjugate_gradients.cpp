#include "freelunch/kernels/conjugate_gradients.h"

#include <algorithm>
#include <bit>

namespace freelunch::kernels {
namespace {

constexpr float kTiny = 1e-30F;

FREELUNCH_INLINE Bf16 high_of(float x) { return to_bf16(x); }
FREELUNCH_INLINE Bf16 low_of(float x) { return to_bf16(x - to_float(to_bf16(x))); }
/// x if the byte of a mask is 1, 0 if it is 0. Written as operations on bits: GCC 12 does not vectorise a
/// loop with a branch or with a bool here.
FREELUNCH_INLINE float retained_of(uint8_t retained, float x) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & (0U - static_cast<uint32_t>(retained)));
}
FREELUNCH_INLINE const uint8_t* bytes_of(const bool* mask) { return reinterpret_cast<const uint8_t*>(mask); }

}  // namespace

FREELUNCH_CLONES void round_row(int64_t n, const float* x, Bf16* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = high_of(x[i]);
}

FREELUNCH_CLONES void split_row_pair(int64_t n, const float* even, const float* odd, uint32_t* high,
                                     uint32_t* low) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    high[i] = high_of(even[i]) | static_cast<uint32_t>(high_of(odd[i])) << 16U;
    low[i] = low_of(even[i]) | static_cast<uint32_t>(low_of(odd[i])) << 16U;
  }
}

FREELUNCH_CLONES void start_row(int64_t n, const GradientRow& r, const float* dense) {
  const GradientRow row = r;
  const uint8_t* retained = bytes_of(row.retained);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    row.w[i] = retained_of(retained[i], dense[i]);
    row.direction[i] = 0;
  }
}

FREELUNCH_CLONES void error_row(int64_t n, const GradientRow& r, const float* dense, Bf16* high, Bf16* low) {
  const GradientRow row = r;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float error = dense[i] - row.w[i];
    high[i] = high_of(error);
    low[i] = low_of(error);
  }
}

FREELUNCH_CLONES double residual_row(int64_t n, const GradientRow& r, const float* dense, const float* image,
                                     const float* extra) {
  const GradientRow row = r;
  const uint8_t* retained = bytes_of(row.retained);
  if (extra != nullptr) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) row.residual[i] = extra[i];
  } else {
    std::fill_n(row.residual, n, 0.0F);
  }
  float rz = 0;
#pragma omp simd reduction(+ : rz)
  for (int64_t i = 0; i < n; ++i) {
    const float gap = image[i] + row.shift * (dense[i] - row.w[i]) + row.residual[i];
    const float residual = retained_of(retained[i], gap);
    row.residual[i] = residual;
    rz += residual * residual * row.inverse_diagonal[i];
  }
  return rz;
}

FREELUNCH_CLONES void next_direction_row(int64_t n, const GradientRow& r, double momentum) {
  const GradientRow row = r;
  const auto share = static_cast<float>(momentum);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float d = to_float(row.direction[i]) * share + row.residual[i] * row.inverse_diagonal[i];
    row.direction[i] = to_bf16(d);
  }
}

FREELUNCH_CLONES double step_row(int64_t n, const GradientRow& r, const float* image) {
  const GradientRow row = r;
  const uint8_t* retained = bytes_of(row.retained);
  float curvature = 0;  // the direction is 0 at removed entries, so the image does not matter there
  float slope = 0;
#pragma omp simd reduction(+ : curvature, slope)
  for (int64_t i = 0; i < n; ++i) {
    const float d = to_float(row.direction[i]);
    curvature += d * (image[i] + row.shift * d);
    slope += d * row.residual[i];
  }
  const float step = curvature > kTiny ? slope / curvature : 0.0F;
  float next = 0;
#pragma omp simd reduction(+ : next)
  for (int64_t i = 0; i < n; ++i) {
    const float d = to_float(row.direction[i]);
    row.w[i] += step * d;
    const float moved = row.residual[i] - step * (image[i] + row.shift * d);
    const float residual = retained_of(retained[i], moved);
    row.residual[i] = residual;
    next += residual * residual * row.inverse_diagonal[i];
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

FREELUNCH_CLONES void add_projection_row(int64_t n, const Bf16* a, const float* f, float* out) {
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += 1024) {
    const int64_t end = std::min<int64_t>(begin + 1024, n);
    float part = 0;
#pragma omp simd reduction(+ : part)
    for (int64_t i = begin; i < end; ++i) part += to_float(a[i]) * f[i];
    total += part;
  }
  const auto scale = static_cast<float>(total);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) out[i] += scale * f[i];
}

}  // namespace freelunch::kernels
