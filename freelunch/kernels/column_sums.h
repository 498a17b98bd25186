#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// sums (width) += the sum over rows of a b, elementwise; a and b (rows, width) bf16 or fp32: fp32 for a few
/// dozen rows, fp64 beyond.
template <typename T>
void add_column_products(int64_t rows, int64_t width, const T* a, const T* b, double* sums);

/// The same of x with itself.
template <typename T>
void add_column_squares(int64_t rows, int64_t width, const T* x, double* sums) {
  add_column_products(rows, width, x, x, sums);
}

}  // namespace freelunch::kernels
