#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

/// Causal attention without a mask, as attention(): bf16 on a device with Backend::bf16_gemm(), head size
/// even. Never holds the (l, l) scores (docs/decisions/0008).
at::Tensor tiled_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

}  // namespace freelunch::model
