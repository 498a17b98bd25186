#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

// The operations of a sublayer between its matrix products. Differentiable. Tensors that kernels/ takes
// (backend::kernels_take) are read and written once; others run the same formulas in ATen.

/// x / rms(x) * weight over the last dimension, computed in fp32 (Zhang and Sennrich 2019, arXiv 1910.07467).
/// x (..., width) fp32, weight (width) fp32; returns x's shape in the given dtype.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::ScalarType dtype = at::kFloat);

/// Rotary positions (Su et al. 2021, arXiv 2104.09864): in heads (n, l, h, e) each pair (i, i + e / 2) is
/// rotated by the position's angle. cosines, sines (l, e / 2) or (n, l, e / 2) fp32. Computed in fp32,
/// returned in the dtype of heads.
at::Tensor rotate(const at::Tensor& heads, const at::Tensor& cosines, const at::Tensor& sines);

/// silu(gate) * up, element by element; both of one shape and dtype.
at::Tensor silu_product(const at::Tensor& gate, const at::Tensor& up);

/// stream + branch in fp32: stream fp32, branch of the same shape in any floating dtype.
at::Tensor add_branch(const at::Tensor& stream, const at::Tensor& branch);

}  // namespace freelunch::model
