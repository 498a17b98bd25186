#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::benchmarks {

/// Floating-point operations a second of a matrix product (2048, 1024) x (1024, 1024) in this dtype, the best
/// of a few, measured now: what the kernels are compared with.
double matrix_product_rate(at::ScalarType dtype);

}  // namespace freelunch::benchmarks
