#pragma once
#include <cstdint>

namespace freelunch::kernels {

/// Mean over rows of ||y - t||^2 / ||t||^2, y and t (rows, width), and its gradient by y unless that is null.
/// Squared norms of t below `floor` count as that.
double relative_squares(int64_t rows, int64_t width, const float* y, const float* t, float floor,
                        float* gradient);

}  // namespace freelunch::kernels
