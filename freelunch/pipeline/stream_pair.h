#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <optional>

#include "freelunch/pipeline/stream_walk.h"

namespace freelunch::pipeline {

/// The stream that a stage works on ("ours") and, where the stage compares with it, the dense model's stream,
/// taken through the blocks in step.
class StreamPair {
 public:
  /// The last `held_out` windows are the held-out ones.
  StreamPair(StreamWalk ours, std::optional<StreamWalk> dense, int64_t held_out);

  bool has_dense() const { return dense_.has_value(); }
  /// What a group of matrices reads, a few windows at a time: visit(X, Y, first, held_out). X (n, l, in)
  /// comes from our stream, Y of the same shape from the dense model's, undefined without that stream. For an
  /// expert both are (1, t, in), the t tokens that our stream routes to it. `ours` and `dense` are the
  /// block's weights.
  void for_each_input(const model::Block& ours, const model::Block& dense, model::Sublayer sublayer,
                      size_t group,
                      const std::function<void(const at::Tensor&, const at::Tensor&, int64_t, bool)>& visit);
  /// The dense model's stream minus ours before the sublayer at hand, (n, l, d) fp32.
  at::Tensor drift(int64_t begin, int64_t n) const;
  /// Our stream before the sublayer at hand, (n, l, d) fp32.
  at::Tensor stream(int64_t begin, int64_t n) const { return ours_.stream(begin, n); }
  /// After the inputs were visited and before advance(): the sublayer's weights change shape.
  void forget_inputs() {
    ours_.forget_inputs();
    if (dense_) dense_->forget_inputs();
  }
  /// Takes both streams past a sublayer whose inputs were all visited.
  void advance(const model::Block& ours, const model::Block& dense, model::Sublayer sublayer);
  /// Takes both streams past a sublayer whose inputs nobody needs.
  void pass(const model::Block& ours, const model::Block& dense, model::Sublayer sublayer);

  /// Takes the dense stream alone through a block that ours lacks.
  void pass_dense(const model::Block& dense);

  /// Move a stream out, after the last block.
  model::ActivationStore take_ours() { return ours_.take_stream(); }
  model::ActivationStore take_dense() { return dense_->take_stream(); }

 private:
  void end_sublayer();

  StreamWalk ours_;
  std::optional<StreamWalk> dense_;
  int64_t held_out_;
};

}  // namespace freelunch::pipeline
