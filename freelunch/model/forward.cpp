#include "model/forward.h"

#include <ATen/ATen.h>

#include "base/error.h"

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
  set_angles(positions.unsqueeze(1));
  mask_ = attends.unsqueeze(1);
  if (config.sliding_window) {
    const at::Tensor distance = positions.unsqueeze(2) - positions.unsqueeze(1);
    mask_ = mask_.logical_and(distance.lt(*config.sliding_window).unsqueeze(1));
  }
  mask_ = mask_.to(compute.device);
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x * x.square().mean(-1, true).add(epsilon).rsqrt() * weight;
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                  at::ScalarType dtype) {
  return at::linear(x.to(dtype), weight.to(dtype), bias.defined() ? bias.to(dtype) : at::Tensor());
}

at::Tensor Forward::rotate(const at::Tensor& heads) const {
  // heads (n, h, l, head_dim): pairs (i, i + head_dim / 2) turn by the position's angle
  const auto halves = heads.to(at::kFloat).chunk(2, -1);
  return at::cat({halves[0] * cos_ - halves[1] * sin_, halves[1] * cos_ + halves[0] * sin_}, -1)
      .to(compute_.dtype);
}

at::Tensor Forward::normed(const Block& block, Half half, const at::Tensor& x) const {
  const at::Tensor& weight = block[half == Half::kAttention ? Part::kAttentionNorm : Part::kMlpNorm];
  return rms_norm(x, weight, config_.norm_epsilon).to(compute_.dtype);
}

at::Tensor Forward::inner(const Block& block, Half half, const at::Tensor& normed,
                          const OutputTap& tap) const {
  const auto map = [&](Part part) {
    const at::Tensor y = linear(normed, block[part], block[bias_of(part)], compute_.dtype);
    if (tap) tap(part, y);
    return y;
  };
  if (half == Half::kMlp) return at::silu(map(Part::kGate)) * map(Part::kUp);
  const int64_t n = normed.size(0);
  const int64_t l = normed.size(1);
  const auto split = [&](const at::Tensor& y, int64_t heads) {
    return y.view({n, l, heads, config_.head_dim}).transpose(1, 2);
  };
  const auto share = [&](const at::Tensor& y) {  // (n, kv_heads, l, e) -> (n, heads, l, e)
    const int64_t group = config_.heads / config_.kv_heads;
    if (group == 1) return y;
    return y.unsqueeze(2)
        .expand({n, config_.kv_heads, group, l, config_.head_dim})
        .reshape({n, config_.heads, l, config_.head_dim});
  };
  const at::Tensor q = rotate(split(map(Part::kQuery), config_.heads));
  const at::Tensor k = share(rotate(split(map(Part::kKey), config_.kv_heads)));
  const at::Tensor v = share(split(map(Part::kValue), config_.kv_heads));
  const bool masked = mask_.defined();
  const at::Tensor y = at::scaled_dot_product_attention(q, k, v, masked ? std::optional(mask_) : std::nullopt,
                                                        /*dropout_p=*/0.0, /*is_causal=*/!masked);
  return y.transpose(1, 2).reshape({n, l, config_.heads * config_.head_dim});
}

at::Tensor Forward::add_output(const Block& block, Half half, const at::Tensor& x, const at::Tensor& inner,
                               const OutputTap& tap) const {
  const Part last = half == Half::kAttention ? Part::kOutput : Part::kDown;
  const at::Tensor y = linear(inner, block[last], block[bias_of(last)], compute_.dtype);
  if (tap) tap(last, y);
  return x + y;
}

}  // namespace freelunch::model
