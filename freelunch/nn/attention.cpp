#include "freelunch/nn/attention.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>
#include <optional>

#include "freelunch/backend/backend.h"
#include "freelunch/nn/tiled_attention.h"

namespace freelunch::model {
namespace {

/// (n, l, heads, e) -> (n, all heads, l, e): keys and values once for each query head that shares them.
at::Tensor heads_first(const at::Tensor& t, int64_t all) {
  const at::Tensor heads = t.transpose(1, 2);
  if (t.size(2) == all) return heads;
  return heads.unsqueeze(2)
      .expand({t.size(0), t.size(2), all / t.size(2), t.size(1), t.size(3)})
      .reshape({t.size(0), all, t.size(1), t.size(3)});
}

bool tiles_take(const at::Tensor& q, const at::Tensor& mask) {
  return backend::of(q).bf16_gemm() && !mask.defined() && q.scalar_type() == at::kBFloat16 &&
         q.size(3) % 2 == 0;
}

}  // namespace

at::Tensor reference_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& mask) {
  const int64_t all = q.size(2);
  const bool masked = mask.defined();
  return at::scaled_dot_product_attention(heads_first(q, all), heads_first(k, all), heads_first(v, all),
                                          masked ? std::optional(mask) : std::nullopt, /*dropout_p=*/0.0,
                                          /*is_causal=*/!masked)
      .transpose(1, 2);
}

at::Tensor capped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& mask, double cap) {
  const int64_t l = q.size(1);
  const int64_t all = q.size(2);
  const at::Tensor sees = mask.defined() ? mask : at::ones({l, l}, q.options().dtype(at::kBool)).tril();
  const double scale = 1 / (cap * std::sqrt(static_cast<double>(q.size(3))));
  const at::Tensor scores =
      at::matmul(heads_first(q, all), heads_first(k, all).transpose(-1, -2)).to(at::kFloat) * scale;
  const at::Tensor capped =
      (scores.tanh() * cap).masked_fill(sees.logical_not(), -std::numeric_limits<float>::infinity());
  return at::matmul(at::softmax(capped, -1).to(v.scalar_type()), heads_first(v, all)).transpose(1, 2);
}

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& mask) {
  if (!tiles_take(q, mask)) return reference_attention(q, k, v, mask);
  return tiled_attention(q, k, v);
}

}  // namespace freelunch::model
