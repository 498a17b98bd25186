#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

/// Causal attention, softmax(q k^T / sqrt(e)) v for each head; differentiable. q (n, l, heads, e); k and v
/// (n, l, kv_heads, e), where each run of heads / kv_heads query heads shares one key head. Returns
/// (n, l, heads, e) in their dtype. mask, if defined, replaces the causal mask: bool, broadcastable to
/// (n, heads, l, l), true where a query may see a key.
/// Runs in our own tiles for bf16 without a mask if Backend::bf16_gemm() (docs/decisions/0008), otherwise in
/// ATen.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask);

/// As attention(), with capped scores, computed in fp32: softmax(cap tanh(q k^T / (cap sqrt(e)))) v. Runs in
/// ATen, because no fused kernel has the cap (Gemma 2, arXiv 2408.00118).
at::Tensor capped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& mask, double cap);

/// attention() in ATen alone: for devices and dtypes that the tiles do not take, and to check the tiles.
at::Tensor reference_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& mask);

}  // namespace freelunch::model
