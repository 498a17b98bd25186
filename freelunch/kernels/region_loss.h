#pragma once
#include <cstdint>

namespace freelunch::kernels {

/// Mean over rows of ||y - t||^2 / max(||t||^2, floor). y, t (rows, width); gradient (rows, width) receives
/// the gradient with respect to y unless it is null.
double relative_squares(int64_t rows, int64_t width, const float* y, const float* t, float floor,
                        float* gradient);

}  // namespace freelunch::kernels
