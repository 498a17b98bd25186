#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <vector>

#include "freelunch/architecture/config.h"
#include "freelunch/model/block.h"
#include "freelunch/model/weight_view.h"
#include "freelunch/nn/elementwise.h"
#include "freelunch/nn/linear.h"
#include "freelunch/nn/norm.h"

namespace freelunch::model {

/// Sees what a matrix gives, before anything else is done to it: (n, l, out) in the compute dtype; for an
/// expert (its tokens, out).
using OutputTap = std::function<void(WeightRole, const at::Tensor&)>;

/// What every forward pass over windows of one length shares: rotary tables and, for sliding windows, the
/// masks. The functions below are ordinary and differentiable; the residual stream is fp32, matrix products
/// run in the compute dtype. n windows of l tokens; d width; m intermediate.
///
/// Where both sublayers read the block's input (Config::parallel), the stream between the sublayers is (n, l,
/// 2 d): that input, and the sum so far.
class Forward {
 public:
  Forward(const Config& config, const backend::Compute& compute, int64_t length);
  /// For windows that are no plain sequences: positions (n, l) int64 on the CPU, and which positions each may
  /// attend to, (n, l, l) bool, to be narrowed by a sliding window.
  Forward(const Config& config, const backend::Compute& compute, const at::Tensor& positions,
          const at::Tensor& attends);

  const Config& config() const { return config_; }
  const backend::Compute& compute() const { return compute_; }
  int64_t length() const { return length_; }
  /// Of the stream after a sublayer: d, or 2 d inside a parallel block.
  int64_t stream_width(Sublayer after) const {
    return config_.parallel && after == Sublayer::kAttention ? 2 * config_.width : config_.width;
  }

  /// The input of a sublayer, normed where a norm comes before: x (n, l, d) -> (n, l, d) in the compute
  /// dtype. What q, k, v or gate, up read. Where x has no gradient and the norm has, the result has none
  /// either if inner() can give the norm its gradient (linear_of_normed).
  at::Tensor normed(const Block& block, Sublayer sublayer, const at::Tensor& x) const;
  /// What the sublayer's last matrix reads: normed (n, l, d) -> (n, l, heads * head_dim) for o, (n, l, m) for
  /// down. Of a mixture of experts what it gives, (n, l, d).
  at::Tensor inner(const Block& block, Sublayer sublayer, const at::Tensor& normed,
                   const OutputTap& tap = {}) const;
  /// x (n, l, d), inner -> the stream after the sublayer, (n, l, d) fp32.
  at::Tensor add_output(const Block& block, Sublayer sublayer, const at::Tensor& x, const at::Tensor& inner,
                        const OutputTap& tap = {}) const;

  /// Which tokens of normed (n, l, d) reach an expert of the block: indices into n l, ascending.
  at::Tensor expert_tokens(const Block& block, const at::Tensor& normed, int64_t expert) const;
  /// What an expert's last matrix reads: x (its tokens, d) -> (its tokens, m of an expert).
  at::Tensor expert_inner(const Block& block, const at::Tensor& x, int32_t expert,
                          const OutputTap& tap = {}) const;

  at::Tensor forward_sublayer(const Block& block, Sublayer sublayer, const at::Tensor& x,
                              const OutputTap& tap = {}) const {
    return add_output(block, sublayer, x, inner(block, sublayer, normed(block, sublayer, x), tap), tap);
  }
  at::Tensor forward_block(const Block& block, const at::Tensor& x) const {
    return forward_sublayer(block, Sublayer::kMlp, forward_sublayer(block, Sublayer::kAttention, x));
  }

 private:
  struct Reach {
    at::Tensor cos, sin;  // (l, pairs) or (n, l, pairs) fp32; undefined without rotary positions
    at::Tensor mask;      // (l, l) or (n, 1, l, l) bool, undefined where causal masking is enough
  };
  void set_angles(Reach& reach, const LayerType& settings, const at::Tensor& positions) const;
  const Reach& reach(const Block& block) const;
  Norm norm(const Block& block, WeightRole::Kind weight) const;
  Norm norm_before(const Block& block, Sublayer sublayer) const;
  bool trained_through_matrices(const Block& block, Sublayer sublayer, const at::Tensor& x) const;
  /// What a matrix that reads `normed` gives, with its bias.
  at::Tensor first_linear(const Block& block, WeightRole role, const at::Tensor& normed) const;
  at::Tensor turned(const Reach& reach, const at::Tensor& heads) const;
  at::Tensor attended(const Block& block, const at::Tensor& normed, const OutputTap& tap) const;
  at::Tensor mixture(const Block& block, const at::Tensor& normed, const OutputTap& tap) const;
  at::Tensor mlp(const Block& block, const at::Tensor& normed, const OutputTap& tap) const;

  Config config_;
  backend::Compute compute_;
  int64_t length_;
  std::vector<Reach> reaches_;  // as Config::layer_types
};

}  // namespace freelunch::model
