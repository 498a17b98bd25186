#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::benchmarks {

/// Floating-point operations per second of a GEMM (2048, 1024) x (1024, 1024) in this dtype: the best of a
/// few measurements made now. The kernels are compared with it.
double matrix_product_rate(at::ScalarType dtype);

}  // namespace freelunch::benchmarks
