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

/// Called with the raw output of each linear layer: (n, l, out) in the compute dtype, (its tokens, out) for
/// an expert.
using OutputTap = std::function<void(WeightRole, const at::Tensor&)>;

/// The input of a sublayer after its norm.
struct Normed {
  at::Tensor tensor;  ///< (n, l, d) in the compute dtype
  /// `tensor` has no gradient. The norm gets its gradient from the matrices that read `tensor`
  /// (linear_of_normed), which saves the gradient of `tensor`.
  bool through_matrices = false;
};

/// The forward pass of blocks over windows of one length. Holds what these passes share: rotary tables and
/// attention masks. The functions are differentiable. The residual stream is fp32, matrix products run in the
/// compute dtype. In the shapes below, n is the number of windows, l their tokens, d the width of the stream,
/// m the intermediate size.
///
/// The numbers of heads, channels and experts are those of the block's tensors, so blocks of a dense model
/// and of a smaller one made from it pass through the same object.
///
/// If both sublayers read the block's input (Config::parallel), the stream between the sublayers is
/// (n, l, 2 d): that input, then the sum so far.
class Forward {
 public:
  Forward(const Config& config, const backend::Compute& compute, int64_t length);
  /// For inputs with explicit positions and attention masks: positions (n, l) int64 on the CPU; attends
  /// (n, l, l) bool, true where a query (dim 1) may see a key (dim 2). Sliding windows narrow it.
  Forward(const Config& config, const backend::Compute& compute, const at::Tensor& positions,
          const at::Tensor& attends);

  const Config& config() const { return config_; }
  const backend::Compute& compute() const { return compute_; }
  int64_t length() const { return length_; }
  /// Width of the stream after a sublayer: d, or 2 d inside a parallel block.
  int64_t stream_width(Sublayer after) const {
    return config_.parallel && after == Sublayer::kAttention ? 2 * config_.width : config_.width;
  }

  /// The input of q, k, v or of gate, up: x (n, l, d), normed if the architecture has a norm before the
  /// sublayer.
  Normed normed(const Block& block, Sublayer sublayer, const at::Tensor& x) const;
  /// The input of the sublayer's last matrix: (n, l, heads * head_dim) for o, (n, l, m) for down. For a
  /// mixture of experts the output of the mixture, (n, l, d).
  at::Tensor inner(const Block& block, Sublayer sublayer, const Normed& normed,
                   const OutputTap& tap = {}) const;
  /// The stream after the sublayer, (n, l, d) fp32, from the stream before it, x (n, l, d), and inner().
  at::Tensor add_output(const Block& block, Sublayer sublayer, const at::Tensor& x, const at::Tensor& inner,
                        const OutputTap& tap = {}) const;

  /// The tokens of normed (n, l, d) that are routed to an expert: indices into n l, ascending, int64.
  at::Tensor expert_tokens(const Block& block, const at::Tensor& normed, int64_t expert) const;
  /// The input of an expert's down matrix: x (its tokens, d) -> (its tokens, m of an expert).
  at::Tensor expert_inner(const Block& block, const at::Tensor& x, int32_t expert,
                          const OutputTap& tap = {}) const;

  /// x (n, l, d) fp32 -> the stream after the sublayer, (n, l, d) fp32.
  at::Tensor forward_sublayer(const Block& block, Sublayer sublayer, const at::Tensor& x,
                              const OutputTap& tap = {}) const {
    return add_output(block, sublayer, x, inner(block, sublayer, normed(block, sublayer, x), tap), tap);
  }
  /// Both sublayers.
  at::Tensor forward_block(const Block& block, const at::Tensor& x) const {
    return forward_sublayer(block, Sublayer::kMlp, forward_sublayer(block, Sublayer::kAttention, x));
  }

 private:
  /// What windows share under one layer type.
  struct Tables {
    at::Tensor cos, sin;  // (l, pairs) or (n, l, pairs) fp32; undefined without rotary positions
    at::Tensor mask;      // (l, l) or (n, 1, l, l) bool; undefined if plain causal attention is enough
  };
  void set_angles(Tables& tables, const LayerType& type, const at::Tensor& positions) const;
  Norm norm(const Block& block, WeightRole::Kind weight) const;
  Norm norm_before(const Block& block, Sublayer sublayer) const;
  /// Whether the norm before a sublayer gets its gradient from the matrices that read the normed x.
  bool trained_through_matrices(const Block& block, Sublayer sublayer, const at::Tensor& x) const;
  /// A matrix that reads `normed`, with its bias.
  at::Tensor first_linear(const Block& block, WeightRole role, const Normed& normed) const;
  at::Tensor rotated(const Tables& tables, const at::Tensor& heads) const;
  at::Tensor attended(const Block& block, const Normed& normed, const OutputTap& tap) const;
  at::Tensor mixture(const Block& block, const at::Tensor& normed, const OutputTap& tap) const;
  at::Tensor mlp(const Block& block, const Normed& normed, const OutputTap& tap) const;

  Config config_;
  backend::Compute compute_;
  int64_t length_;
  std::vector<Tables> tables_;  // one for each of Config::layer_types
};

}  // namespace freelunch::model
