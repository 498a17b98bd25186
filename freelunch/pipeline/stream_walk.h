#pragma once
#include <ATen/core/TensorBody.h>

#include <optional>

#include "freelunch/model/forward.h"
#include "freelunch/storage/activation_store.h"

namespace freelunch::pipeline {

/// A residual stream on its way through the blocks, as the matrices see it: sublayer by sublayer, and in each
/// sublayer the input of one group of matrices after the other. What the second group reads is kept, so that
/// a sublayer runs once. No gradients.
class StreamWalk {
 public:
  /// stream (windows, l, d), changed in place by advance(); what the second group of a sublayer reads is kept
  /// with the same settings.
  StreamWalk(const model::Forward& forward, const model::ActivationSettings& settings,
             model::ActivationStore stream)
      : forward_(&forward), settings_(&settings), stream_(std::move(stream)) {}

  /// Gives the stream away, at the end.
  model::ActivationStore take_stream() { return std::move(stream_); }
  /// What a group of the sublayer (model::matrix_groups) reads for windows [begin, begin + n): (n, l, in) in
  /// the compute dtype; of an expert (1, its tokens, in), which are `tokens` if given.
  at::Tensor input(const model::Block& block, model::Sublayer sublayer, size_t group, int64_t begin,
                   int64_t n, const at::Tensor& tokens = {});
  /// Which tokens of those windows reach the group's expert, indices into n l; undefined for all.
  at::Tensor tokens(const model::Block& block, model::Sublayer sublayer, size_t group, int64_t begin,
                    int64_t n) const;
  /// Past the sublayer, for the same windows; input() of group 1 must have seen them.
  void advance(const model::Block& block, model::Sublayer sublayer, int64_t begin, int64_t n);
  /// Past a sublayer of which nothing is asked: input() and advance() in one.
  void pass(const model::Block& block, model::Sublayer sublayer, int64_t begin, int64_t n);
  /// Drops what advance() no longer needs.
  void end_sublayer();

 private:
  const model::Forward* forward_;
  const model::ActivationSettings* settings_;
  model::ActivationStore stream_;
  std::optional<model::ActivationStore> inner_, next_;
};

}  // namespace freelunch::pipeline
