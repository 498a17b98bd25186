#pragma once
#include <ATen/core/TensorBody.h>

namespace freelunch::model {

/// Causal softmax(q k^T / sqrt(e)) v for each head; differentiable. q (n, l, heads, e), k and v
/// (n, l, kv_heads, e), where heads / kv_heads neighbouring heads share one key head; the result is
/// (n, l, heads, e) in their dtype. mask, if defined: bool, broadcastable to (n, heads, l, l), which keys a
/// query may see instead of all up to itself.
/// Without a mask, in bf16 on CPUs with bf16 products, by tiles of our own (docs/decisions/0008); else by
/// ATen.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask);

/// softmax(cap tanh(q k^T / (cap sqrt(e)))) v, the scores in fp32; arguments and result as above. By ATen: no
/// fused kernel knows the cap (Gemma 2, arXiv 2408.00118).
at::Tensor capped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& mask, double cap);

/// By ATen alone: for devices and dtypes that the tiles do not serve, and to check them against.
at::Tensor reference_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& mask);

}  // namespace freelunch::model
