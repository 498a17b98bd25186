#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <optional>
#include <string>

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
  int64_t batch = kDefaultBatch;  ///< windows in a step
  int64_t restarts = 0;  ///< how often training that diverges is restarted, each time at half the rate
  TrainableSettings trainable;
  bool keep_graph =
      false;  ///< keep the graph of all blocks instead of running each block's forward pass twice
};

/// The model that is trained.
struct DistilModel {
  const model::Forward& forward;
  model::WeightView weights;  ///< the weights that training starts from
  MaskOf mask_of;
  model::TensorFile& scratch;  ///< receives the trained tensors under their names
  /// Called with the name of each trained tensor right before it is written. May be empty.
  std::function<void(const std::string&)> before_change = {};
};

/// What the model is trained on.
struct DistilData {
  at::Tensor windows;       ///< token ids (n, l) int64 on the CPU
  at::Tensor dense_hidden;  ///< for kKl: the dense model's hidden states after the final norm, (n, l, d) bf16
  int64_t held_out = 0;     ///< the last windows, which are not trained on
  RandomStream order;       ///< draws the order of the windows in each epoch
};

/// Mean loss per scored token, in nats: on held-out windows, or on all windows if none is held out.
struct DistilOutcome {
  double before = 0;
  double after = 0;
  bool improved = true;  ///< false: no state beat the start, so nothing was written
  int64_t restarts = 0;  ///< how often training diverged and was restarted
};

/// The position of a training run. With the tensors in the scratch file it is all that is needed to resume.
struct DistilPosition {
  int64_t step = 0;          ///< number of finished steps
  double learning_rate = 0;  ///< the peak rate
  int64_t restarts = 0;
  double before = 0, after = 0;  ///< as in DistilOutcome, so far
  bool improved = false;
};

/// Records the positions of a training run, so that another process can resume it.
class DistilPlace {
 public:
  virtual ~DistilPlace() = default;
  /// Whether to save the state and call commit() after this step.
  virtual bool due() const = 0;
  /// Called when the scratch file holds the state of this position.
  virtual void commit(const DistilPosition& position) = 0;
  /// The last committed position; the scratch file still holds its state.
  virtual std::optional<DistilPosition> last() const = 0;
};

/// Trains the whole model at once. Holds in memory: the trained parameters in fp32 with two Adam moments
/// each, the matrices in the compute dtype, the inputs of all blocks for one batch, and the graph of one
/// block. Unless the recipe keeps the graph, activations are recomputed block by block; a block is updated as
/// soon as its gradient is complete, before the block below it is visited. At the end of each epoch the loss
/// is measured; the best state is written to the scratch file, or nothing if no state beat the start. If
/// `place` has a position, training resumes there and gives the same bytes. If a loss or gradient is not
/// finite, training restarts at half the learning rate, at most `restarts` times. Throws Numerical naming
/// tensor and step if it still diverges, Interrupted on request.
DistilOutcome distil(const DistilModel& model, const DistilData& data, const DistilRecipe& recipe,
                     DistilPlace& place, ProgressSink& progress);

}  // namespace freelunch::reconstruct
