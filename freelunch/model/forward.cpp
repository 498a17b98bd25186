#include "model/forward.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "model/attention.h"

namespace freelunch::model {

void Forward::set_angles(const at::Tensor& positions) {
  const int64_t pairs = config_.head_dim / 2;
  const auto fp64 = at::TensorOptions().dtype(at::kDouble);
  at::Tensor frequency = at::pow(at::full({pairs}, config_.rope_theta, fp64),
                                 at::arange(pairs, fp64) * (-2.0 / static_cast<double>(config_.head_dim)));
  if (config_.rope_scaling.kind == RopeScalingKind::kLinear)
    frequency = frequency / config_.rope_scaling.factor;
  if (config_.rope_scaling.kind == RopeScalingKind::kLlama3) {
    frequency = frequency / at::tensor(llama3_divisors(config_), fp64);
  }
  // The references round the frequency to fp32 and form the angle in fp32; so does this.
  const at::Tensor angle = positions.to(at::kFloat).unsqueeze(-1) * frequency.to(at::kFloat);
  cos_ = angle.cos().to(compute_.device);
  sin_ = angle.sin().to(compute_.device);
}

Forward::Forward(const Config& config, const Compute& compute, int64_t length)
    : config_(config), compute_(compute), length_(length) {
  set_angles(at::arange(length, at::kLong));
  if (config.sliding_window && length > *config.sliding_window) {
    const at::Tensor position = at::arange(length, at::TensorOptions().device(compute.device));
    const at::Tensor distance = position.unsqueeze(1) - position.unsqueeze(0);
    mask_ = distance.ge(0).logical_and(distance.lt(*config.sliding_window));
  }
}

Forward::Forward(const Config& config, const Compute& compute, const at::Tensor& positions,
                 const at::Tensor& attends)
    : config_(config), compute_(compute), length_(positions.size(1)) {
  set_angles(positions);
  mask_ = attends.unsqueeze(1);
  if (config.sliding_window) {
    const at::Tensor distance = positions.unsqueeze(2) - positions.unsqueeze(1);
    mask_ = mask_.logical_and(distance.lt(*config.sliding_window).unsqueeze(1));
  }
  mask_ = mask_.to(compute.device);
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  at::ScalarType dtype) {
  return at::linear(x.to(dtype), weight.to(dtype), bias.defined() ? bias.to(dtype) : at::Tensor());
}

at::Tensor Forward::normed(const Block& block, Half half, const at::Tensor& x) const {
  const at::Tensor& weight = block[half == Half::kAttention ? Part::kAttentionNorm : Part::kMlpNorm];
  return rms_norm(x, weight, config_.norm_epsilon, compute_.dtype);
}

at::Tensor Forward::inner(const Block& block, Half half, const at::Tensor& normed,
                          const OutputTap& tap) const {
  const auto map = [&](Part part) {
    const at::Tensor y = linear(normed, block[part], block[bias_of(part)], compute_.dtype);
    if (tap) tap(part, y);
    return y;
  };
  if (half == Half::kMlp) {
    const at::Tensor gate = map(Part::kGate);
    return silu_product(gate, map(Part::kUp));
  }
  const auto heads = [&](Part part, int64_t count) {
    return map(part).view({normed.size(0), normed.size(1), count, config_.head_dim});
  };
  const at::Tensor q = rotate(heads(Part::kQuery, config_.heads), cos_, sin_);
  const at::Tensor k = rotate(heads(Part::kKey, config_.kv_heads), cos_, sin_);
  return attention(q, k, heads(Part::kValue, config_.kv_heads), mask_).flatten(2);
}

at::Tensor Forward::add_output(const Block& block, Half half, const at::Tensor& x, const at::Tensor& inner,
                               const OutputTap& tap) const {
  const Part last = half == Half::kAttention ? Part::kOutput : Part::kDown;
  const at::Tensor y = linear(inner, block[last], block[bias_of(last)], compute_.dtype);
  if (tap) tap(last, y);
  return add_branch(x, y);
}

}  // namespace freelunch::model
