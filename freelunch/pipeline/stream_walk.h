#pragma once
#include <ATen/core/TensorBody.h>

#include <optional>

#include "freelunch/model/forward.h"
#include "freelunch/storage/activation_store.h"

namespace freelunch::pipeline {

/// Takes a residual stream through the blocks and gives the input of each group of matrices on the way: the
/// sublayers of a block in order, and in a sublayer the groups in order (model::matrix_groups). The input of
/// the second group is stored, so that each sublayer is computed once. No gradients.
class StreamWalk {
 public:
  /// stream (windows, l, d) is changed in place by advance(). The inputs of second groups are stored under
  /// the same settings. `forward` and `settings` must outlive the walk.
  StreamWalk(const model::Forward& forward, const model::ActivationSettings& settings,
             model::ActivationStore stream)
      : forward_(&forward), settings_(&settings), stream_(std::move(stream)) {}

  int64_t windows() const { return stream_.windows(); }
  /// The stream of windows [begin, begin + n) before the sublayer at hand, (n, l, d) fp32.
  at::Tensor stream(int64_t begin, int64_t n) const { return stream_.read(begin, n); }
  /// Moves the stream out, after the last block.
  model::ActivationStore take_stream() { return std::move(stream_); }
  /// The input of a group for windows [begin, begin + n): (n, l, in) in the compute dtype. For an expert
  /// (1, t, in): its t tokens, or `tokens` if given.
  at::Tensor input(const model::Block& block, model::Sublayer sublayer, size_t group, int64_t begin,
                   int64_t n, const at::Tensor& tokens = {});
  /// The tokens of those windows that are routed to the group's expert, int64 indices into n x l; undefined
  /// if the group belongs to no expert.
  at::Tensor tokens(const model::Block& block, model::Sublayer sublayer, size_t group, int64_t begin,
                    int64_t n) const;
  /// Replaces the stream of those windows by the sublayer's output. input() of the last group must have been
  /// called for them.
  void advance(const model::Block& block, model::Sublayer sublayer, int64_t begin, int64_t n);
  /// Drops the stored inputs of the sublayer at hand, which then can be visited again with other weights.
  void forget_inputs() { inner_.reset(); }
  /// input() and advance() in one, for a sublayer whose inputs nobody needs.
  void pass(const model::Block& block, model::Sublayer sublayer, int64_t begin, int64_t n);
  /// Ends a sublayer, after advance() of all windows: frees the stored inputs.
  void end_sublayer();

 private:
  const model::Forward* forward_;
  const model::ActivationSettings* settings_;
  model::ActivationStore stream_;
  std::optional<model::ActivationStore> inner_, next_;
};

}  // namespace freelunch::pipeline
