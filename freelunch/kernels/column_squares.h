#pragma once
#include <cstdint>

#include "kernels/vector.h"

namespace freelunch::kernels {

/// sums (width) += the sum over rows of x^2, x (rows, width) bf16 or fp32: fp32 for a few dozen rows, fp64
/// beyond.
template <typename T>
void add_column_squares(int64_t rows, int64_t width, const T* x, double* sums);

}  // namespace freelunch::kernels
