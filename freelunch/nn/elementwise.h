#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

// What a sublayer does between its matrix products. Differentiable. Contiguous bf16 and fp32 tensors on the
// CPU go through freelunch/kernels, one pass over memory each way; all else through ATen by the same
// formulas.

/// x / rms(x) * weight over the last dimension, computed in fp32 (Zhang and Sennrich 2019, arXiv 1910.07467).
/// x fp32; the result is of the given dtype.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                    at::ScalarType dtype = at::kFloat);

/// Rotary positions (Su et al. 2021, arXiv 2104.09864): heads (n, l, h, e), pairs (i, i + e / 2) turn by the
/// position's angle. cosines, sines (l, e / 2) or (n, l, e / 2) fp32. Computed in fp32, result in heads'
/// dtype.
at::Tensor rotate(const at::Tensor& heads, const at::Tensor& cosines, const at::Tensor& sines);

/// silu(gate) * up.
at::Tensor silu_product(const at::Tensor& gate, const at::Tensor& up);

/// stream fp32 + branch of any floating dtype -> fp32.
at::Tensor add_branch(const at::Tensor& stream, const at::Tensor& branch);

}  // namespace freelunch::model
