#pragma once
#include <ATen/core/TensorBody.h>

#include <optional>

#include "freelunch/base/random.h"
#include "freelunch/base/sinks.h"
#include "freelunch/descent/schedule.h"
#include "freelunch/descent/token_loss.h"
#include "freelunch/descent/trainable_block.h"
#include "freelunch/model/forward.h"
#include "freelunch/model/weight_view.h"

namespace freelunch::reconstruct {

struct DistilRecipe {
  TokenLoss loss = TokenLoss::kKl;
  AdamSettings adam;
  int64_t epochs = 1;
  int64_t batch = 4;     ///< windows a step
  int64_t restarts = 0;  ///< how often it may start over after diverging, each time at half the rate
  TrainableSettings trainable;
  bool keep_graph = false;  ///< of all blocks at once, instead of running each block's forward pass again
};

/// Token windows (n, l) int64 on the CPU, the last `held_out` of which are not trained on, and for kl the
/// dense model's final hidden states, after its final norm, (n, l, d) bf16.
struct DistilData {
  at::Tensor windows;
  at::Tensor dense_hidden;
  int64_t held_out = 0;
};

/// Mean loss per scored token, in nats, on held-out windows, or on the calibration windows if none is held
/// out.
struct DistilOutcome {
  double before = 0;
  double after = 0;
  bool improved = true;
  int64_t restarts = 0;
};

/// Where distil is: everything but the trained numbers and their moments, which it puts into the store.
struct DistilPosition {
  int64_t step = 0;          ///< steps done
  double learning_rate = 0;  ///< peak
  int64_t restarts = 0;
  double before = 0, after = 0;  ///< as in DistilOutcome, so far
  bool improved = false;
};

/// What distil tells of its place, so that another process can go on from there.
class DistilPlace {
 public:
  virtual ~DistilPlace() = default;
  /// Whether to commit() after this step.
  virtual bool due() const = 0;
  /// The store now holds what belongs to this position.
  virtual void commit(const DistilPosition& position) = 0;
  /// The last one that was committed; the store is as it was then.
  virtual std::optional<DistilPosition> last() const = 0;
};

/// Trains what the recipe says of the whole model at once. Memory: the trained numbers in fp32 with two Adam
/// moments each, the matrices in the compute dtype, one batch's block inputs, one block's graph. Activations
/// are recomputed block by block unless the graph is kept; each block is updated as soon as its gradient is
/// complete, before the block below it is visited. The best state on held-out windows, seen at the end of an
/// epoch, is written to `store` at the end; nothing is written if no state beat the start. With `place` it
/// goes on from an earlier process's place to the same bytes. A loss or gradient that is not finite starts it
/// over at half the rate, `restarts` times at most. Throws Numerical naming tensor and step after that,
/// Interrupted on request.
DistilOutcome distil(const model::Forward& forward, const model::WeightView& weights, const MaskOf& mask_of,
                     const DistilData& data, const DistilRecipe& recipe, model::TensorFile& scratch,
                     const RandomStream& random, DistilPlace& place, ProgressSink& progress);

}  // namespace freelunch::reconstruct
