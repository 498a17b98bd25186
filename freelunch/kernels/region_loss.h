#pragma once
#include <cstdint>

namespace freelunch::kernels {

/// Mean over rows of ||y - t||^2 / max(||t||^2, floor), where ||v||^2 is the sum of weights[i] v[i]^2. y, t
/// (rows, width); weights (width), or null: all 1. gradient (rows, width) receives the gradient with respect
/// to y unless it is null.
double relative_squares(int64_t rows, int64_t width, const float* y, const float* t, const float* weights,
                        float floor, float* gradient);

}  // namespace freelunch::kernels
