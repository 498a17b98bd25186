#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// sums (width) fp64 += the sum over rows of a b, elementwise. a, b (rows, width), T is Bf16 or float. 64
/// rows at a time are summed in fp32, their sums in fp64.
template <typename T>
void add_column_products(int64_t rows, int64_t width, const T* a, const T* b, double* sums);

/// The same with a = b = x (rows, width).
template <typename T>
void add_column_squares(int64_t rows, int64_t width, const T* x, double* sums) {
  add_column_products(rows, width, x, x, sums);
}

}  // namespace freelunch::kernels
