#include "freelunch/model/forward.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <optional>

#include "freelunch/architecture/rope.h"
#include "freelunch/backend/backend.h"
#include "freelunch/model/passes.h"
#include "freelunch/nn/attention.h"
#include "freelunch/nn/mixture.h"

namespace freelunch::model {
namespace {

at::Tensor activated(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
    case Activation::kRelu:
      return at::relu(x);
  }
  return x;
}

}  // namespace

void Forward::set_angles(Tables& tables, const LayerType& type, const at::Tensor& positions) const {
  if (config_.positions != PositionKind::kRotary) return;
  const RopeScaling& scaling = type.rope_scaling;
  // transformers rounds the frequency to fp32 and computes the angle in fp32, and so does this.
  const auto frequencies = [&](int64_t length) {
    return at::tensor(
        rotary_frequencies(type.rope_theta, scaling, config_.rotary_dim(), config_.max_length, length),
        at::kFloat);
  };
  at::Tensor frequency;
  if (scaling.depends_on_length() && positions.dim() == 2) {  // each sequence has a length of its own
    std::vector<at::Tensor> rows;
    const at::Tensor last = positions.amax(1).contiguous();
    for (int64_t row = 0; row < last.size(0); ++row)
      rows.push_back(frequencies(last[row].item<int64_t>() + 1));
    frequency = at::stack(rows).unsqueeze(1);
  } else {
    frequency = frequencies(length_);
  }
  const at::Tensor angle = positions.to(at::kFloat).unsqueeze(-1) * frequency;
  tables.cos = (angle.cos() * scaling.attention_factor).to(compute_.device);
  tables.sin = (angle.sin() * scaling.attention_factor).to(compute_.device);
}

Forward::Forward(const Config& config, const backend::Compute& compute, int64_t length)
    : config_(config), compute_(compute), length_(length) {
  for (const LayerType& type : config.layer_types) {
    Tables& tables = tables_.emplace_back();
    set_angles(tables, type, at::arange(length, at::kLong));
    if (!type.window || length <= *type.window) continue;
    const at::Tensor position = at::arange(length, at::TensorOptions().device(compute.device));
    const at::Tensor distance = position.unsqueeze(1) - position.unsqueeze(0);
    tables.mask = distance.ge(0).logical_and(distance.lt(*type.window));
  }
}

Forward::Forward(const Config& config, const backend::Compute& compute, const at::Tensor& positions,
                 const at::Tensor& attends)
    : config_(config), compute_(compute), length_(positions.size(1)) {
  for (const LayerType& type : config.layer_types) {
    Tables& tables = tables_.emplace_back();
    set_angles(tables, type, positions);
    tables.mask = attends.unsqueeze(1);
    if (type.window) {
      const at::Tensor distance = positions.unsqueeze(2) - positions.unsqueeze(1);
      tables.mask = tables.mask.logical_and(distance.lt(*type.window).unsqueeze(1));
    }
    tables.mask = tables.mask.to(compute.device);
  }
}

Norm Forward::norm(const Block& block, WeightRole::Kind weight) const {
  return norm_of(config_, weight, [&](WeightRole role) { return block[role]; });
}

Norm Forward::norm_before(const Block& block, Sublayer sublayer) const {
  return norm(block, sublayer == Sublayer::kAttention ? WeightRole::kAttentionNorm : WeightRole::kMlpNorm);
}

bool Forward::trained_through_matrices(const Block& block, Sublayer sublayer, const at::Tensor& x) const {
  const Norm norm = norm_before(block, sublayer);
  // on other devices the product costs less than the test for zeros
  if (!config_.rms_norms() || !backend::of(x).has_kernels(compute_.dtype)) return false;
  if (!at::GradMode::is_enabled() || x.requires_grad() || !norm.weight.requires_grad()) return false;
  const bool router_reads = sublayer == Sublayer::kMlp && block[WeightRole::kRouter].defined();
  return !router_reads && !norm.gain().eq(0).any().item<bool>();
}

at::Tensor Forward::first_linear(const Block& block, WeightRole role, const Normed& normed) const {
  const at::Tensor &weight = block[role], &bias = block[bias_of(role)];
  if (!normed.through_matrices) return linear(normed.tensor, weight, bias, compute_.dtype);
  const at::Tensor gain = norm_before(block, sublayer_of(role)).gain();
  return linear_of_normed(normed.tensor, weight, bias, gain, compute_.dtype);
}

at::Tensor Forward::rotated(const Tables& tables, const at::Tensor& heads) const {
  if (!tables.cos.defined()) return heads;
  const int64_t dim = config_.rotary_dim();
  if (dim == config_.head_dim) return rotate(heads, tables.cos, tables.sin);
  const at::Tensor rest = heads.narrow(-1, dim, config_.head_dim - dim);
  return at::cat({rotate(heads.narrow(-1, 0, dim).contiguous(), tables.cos, tables.sin), rest}, -1);
}

Normed Forward::normed(const Block& block, Sublayer sublayer, const at::Tensor& x) const {
  const at::Tensor read = config_.parallel && sublayer == Sublayer::kMlp ? x.narrow(-1, 0, config_.width) : x;
  if (!config_.norms_input()) return {.tensor = read.to(compute_.dtype)};
  const bool through_matrices = trained_through_matrices(block, sublayer, read);
  const at::AutoGradMode with_gradient(at::GradMode::is_enabled() && !through_matrices);
  return {.tensor = norm_before(block, sublayer)(read, compute_.dtype), .through_matrices = through_matrices};
}

at::Tensor Forward::attended(const Block& block, const Normed& normed, const OutputTap& tap) const {
  const auto heads = [&](WeightRole role, std::optional<WeightRole::Kind> weight) {
    at::Tensor y = first_linear(block, role, normed);
    if (tap) tap(role, y);
    if (weight && config_.head_norm == HeadNorm::kAll)
      y = norm(block, *weight)(y.to(at::kFloat), compute_.dtype);
    y = y.view({y.size(0), y.size(1), -1, config_.head_dim});
    if (weight && config_.head_norm == HeadNorm::kEach)
      y = norm(block, *weight)(y.to(at::kFloat), compute_.dtype);
    return y;
  };
  const Tables& tables = tables_[config_.layer_type(block.index)];
  at::Tensor q = rotated(tables, heads(WeightRole::kQuery, WeightRole::kQueryNorm));
  const at::Tensor k = rotated(tables, heads(WeightRole::kKey, WeightRole::kKeyNorm));
  const at::Tensor v = heads(WeightRole::kValue, std::nullopt);
  if (config_.attention_scale)  // attention() already divides by sqrt(head_dim)
    q = q * (*config_.attention_scale * std::sqrt(static_cast<double>(config_.head_dim)));
  if (config_.attention_soft_cap > 0)
    return capped_attention(q, k, v, tables.mask, config_.attention_soft_cap).flatten(2);
  return attention(q, k, v, tables.mask).flatten(2);
}

at::Tensor Forward::mlp(const Block& block, const Normed& normed, const OutputTap& tap) const {
  const auto map = [&](WeightRole role) {
    const at::Tensor y = first_linear(block, role, normed);
    if (tap) tap(role, y);
    return y;
  };
  if (block[WeightRole::kRouter].defined()) return mixture(block, normed.tensor, tap);
  if (!config_.gated) return activated(config_.activation, map(WeightRole::kUp));
  const at::Tensor gate = map(WeightRole::kGate);
  const at::Tensor up = map(WeightRole::kUp);
  return config_.activation == Activation::kSilu ? silu_product(gate, up)
                                                 : activated(config_.activation, gate) * up;
}

at::Tensor Forward::expert_tokens(const Block& block, const at::Tensor& normed, int64_t expert) const {
  return tokens_of(route(config_.experts, block[WeightRole::kRouter], normed.flatten(0, 1)), expert);
}

at::Tensor Forward::expert_inner(const Block& block, const at::Tensor& x, int32_t expert,
                                 const OutputTap& tap) const {
  const auto map = [&](WeightRole role) {
    const at::Tensor y = linear(x, block[role], {}, compute_.dtype);
    if (tap) tap(role, y);
    return y;
  };
  return activated(config_.activation, map({WeightRole::kGate, expert})) * map({WeightRole::kUp, expert});
}

at::Tensor Forward::mixture(const Block& block, const at::Tensor& normed, const OutputTap& tap) const {
  const at::Tensor flat = normed.flatten(0, 1);
  const Routing routing = route(config_.experts, block[WeightRole::kRouter], flat);
  at::Tensor sum = at::zeros(flat.sizes(), flat.options().dtype(at::kFloat));
  for (int32_t e = 0; e < block[WeightRole::kRouter].size(0); ++e) {
    const at::Tensor tokens = tokens_of(routing, e);
    if (tokens.numel() == 0) continue;
    const at::Tensor inner = expert_inner(block, flat.index_select(0, tokens), e, tap);
    const WeightRole down{WeightRole::kDown, e};
    const at::Tensor y = linear(inner, block[down], {}, compute_.dtype);
    if (tap) tap(down, y);
    sum = sum.index_add(0, tokens, y.to(at::kFloat) * weights_of(routing, e, tokens));
  }
  return sum.view(normed.sizes());
}

at::Tensor Forward::inner(const Block& block, Sublayer sublayer, const Normed& normed,
                          const OutputTap& tap) const {
  count_pass(normed.tensor.size(0) * normed.tensor.size(1));
  return sublayer == Sublayer::kAttention ? attended(block, normed, tap) : mlp(block, normed, tap);
}

at::Tensor Forward::add_output(const Block& block, Sublayer sublayer, const at::Tensor& x,
                               const at::Tensor& inner, const OutputTap& tap) const {
  const bool first = sublayer == Sublayer::kAttention;
  const WeightRole last = first ? WeightRole::kOutput : WeightRole::kDown;
  at::Tensor y = inner;  // inner() of a mixture of experts includes the down matrices
  if (first || !block[WeightRole::kRouter].defined()) {
    y = linear(inner, block[last], block[bias_of(last)], compute_.dtype);
    if (tap) tap(last, y);
  }
  if (config_.norm_place == NormPlace::kAfter || config_.norm_place == NormPlace::kBeforeAndAfter)
    y = norm(block, first ? WeightRole::kAttentionPostNorm : WeightRole::kMlpPostNorm)(y.to(at::kFloat));
  if (config_.parallel) {
    return first ? at::cat({x, x + y}, -1) : x.narrow(-1, config_.width, config_.width) + y;
  }
  if (config_.norm_place == NormPlace::kAfterSum)
    return norm(block, first ? WeightRole::kAttentionNorm : WeightRole::kMlpNorm)(x + y);
  return add_branch(x, y);
}

}  // namespace freelunch::model
