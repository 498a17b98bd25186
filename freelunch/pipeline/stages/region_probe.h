#pragma once
#include <ATen/core/TensorBody.h>

#include <cstdint>

#include "freelunch/model/forward.h"
#include "freelunch/pipeline/run_context.h"

namespace freelunch::pipeline {

/// Tells early whether a stage of regions helps the whole model: the KL divergence from the dense model on a
/// few held-out windows, with the repaired blocks in front and the dense model's blocks behind, against the
/// same with the blocks in front as they were before the stage (docs/methods/objective.md). The run must have
/// held-out windows and keep former tensors (RunContext::keeps_former). Keeps references to its arguments.
class RegionProbe {
 public:
  RegionProbe(RunContext& run, const model::Forward& forward);

  /// Takes the probe's windows through the next block, which the stage has finished: once as it was before
  /// the stage, and once as it is now, `repaired` in fp32.
  void advance(const model::Block& repaired);

  /// Whether to measure after these blocks: the first region that ends behind a fifth, two fifths, three
  /// fifths or four fifths of the model.
  bool due(int64_t first, int64_t last) const;

  /// Mean KL divergence in nats per token.
  struct Reading {
    double before = 0;  ///< with the blocks as they were before the stage
    double now = 0;
    bool helps() const { return now < before; }  // false if either is not finite
  };
  /// Measures after `block`, the last one of advance().
  Reading read(int64_t block) const;

 private:
  double divergence(const at::Tensor& stream, const model::Head& head) const;

  RunContext& run_;
  const model::Forward& forward_;
  at::Tensor dense_;         // (tokens that are scored, d) bf16
  at::Tensor before_, now_;  // (windows, l, d) fp32
};

}  // namespace freelunch::pipeline
