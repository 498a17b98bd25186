#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

/// x (..., in), weight (out, in), bias (out) or undefined -> (..., out). All are converted to the given
/// dtype.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  at::ScalarType dtype);

/// linear() of a normed input x = gain * z. gain (in) is fp32 and nowhere 0; dtype is one that kernels/ takes
/// on x's device. x gets no gradient. The gradient of gain follows from that of the weight:
///
///   dL/dgain_j = sum_t,o dL/dy_to W_oj z_tj = (sum_o W_oj dL/dW_oj) / gain_j,
///
/// which saves the product for dL/dx, as many operations as the forward pass.
at::Tensor linear_of_normed(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            const at::Tensor& gain, at::ScalarType dtype);

}  // namespace freelunch::model
