#include "freelunch/kernels/region_loss.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {
namespace {

/// Weights that are all 1.
struct Ones {
  FREELUNCH_INLINE constexpr float operator[](int64_t) const { return 1; }
};

/// The loss of a row. `weights` is a pointer or Ones.
template <typename Weights>
FREELUNCH_INLINE double row_loss(int64_t n, const float* y, const float* t, Weights weights, float floor,
                                 float scale, float* gradient) {
  float error = 0;
  float norm = 0;
#pragma omp simd reduction(+ : error, norm)
  for (int64_t i = 0; i < n; ++i) {
    const float d = y[i] - t[i];
    error += weights[i] * d * d;
    norm += weights[i] * t[i] * t[i];
  }
  const float inverse = 1 / std::max(norm, floor);
  const double loss = static_cast<double>(error) * inverse;
  if (gradient == nullptr) return loss;
  const float factor = 2 * scale * inverse;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) gradient[i] = weights[i] * (y[i] - t[i]) * factor;
  return loss;
}

FREELUNCH_CLONES double relative_row(int64_t n, const float* y, const float* t, float floor, float scale,
                                     float* gradient) {
  return row_loss(n, y, t, Ones{}, floor, scale, gradient);
}

FREELUNCH_CLONES double weighted_row(int64_t n, const float* y, const float* t, const float* weights,
                                     float floor, float scale, float* gradient) {
  return row_loss(n, y, t, weights, floor, scale, gradient);
}

}  // namespace

double relative_squares(int64_t rows, int64_t width, const float* y, const float* t, const float* weights,
                        float floor, float* gradient) {
  std::vector<double> losses(static_cast<size_t>(rows));
  const float scale = 1 / static_cast<float>(rows);
#pragma omp parallel for schedule(static)
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t at = r * width;
    float* const slope = gradient == nullptr ? nullptr : gradient + at;
    losses[static_cast<size_t>(r)] = weights == nullptr
                                         ? relative_row(width, y + at, t + at, floor, scale, slope)
                                         : weighted_row(width, y + at, t + at, weights, floor, scale, slope);
  }
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(rows);
}

}  // namespace freelunch::kernels
