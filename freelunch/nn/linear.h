#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

/// x (..., in), weight (out, in), bias (out) or undefined -> (..., out), in the given dtype.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  at::ScalarType dtype);

/// The same of what a norm gives, x = gain * z with z given and gain (in) fp32, nowhere 0, on the CPU, in
/// bf16 or fp32. x has no gradient: gain's is that of the weight, summed over its rows,
///
///   dL/dgain_j = sum_t,o dL/dy_to W_oj z_tj = (sum_o W_oj dL/dW_oj) / gain_j,
///
/// so the product that would give dL/dx (as many operations as the forward pass) is never made.
at::Tensor linear_of_normed(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            const at::Tensor& gain, at::ScalarType dtype);

}  // namespace freelunch::model
