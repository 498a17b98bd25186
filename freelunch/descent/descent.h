#pragma once
#include <ATen/core/TensorBody.h>

#include <string>

#include "freelunch/base/random.h"
#include "freelunch/descent/loss.h"
#include "freelunch/descent/region.h"
#include "freelunch/descent/schedule.h"

namespace freelunch::reconstruct {

struct DescentRecipe {
  Loss loss = Loss::kRelativeMse;
  AdamSettings adam;
  int64_t epochs = 2;
  int64_t batch = 4;  ///< windows a step
  bool freeze_norms = false;
  int64_t restarts = 0;  ///< how often a region that diverges may start over, each time at half the rate
  int64_t retries = 0;   ///< how often one that got no better may, each time at a quarter of the rate
};

/// A region's inputs (n, l, in) and targets (n, l, out). The last `held_out` windows are not trained on.
struct RegionData {
  const model::ActivationStore& inputs;
  const model::ActivationStore& targets;
  int64_t held_out = 0;
  NextNorm next_norm;
};

/// Mean loss per token before and after, on calibration windows (as many, evenly spaced, as are held out, or
/// all if none is) and on held-out windows.
struct RegionOutcome {
  double before = 0, after = 0, held_out_before = 0, held_out_after = 0;
  bool improved = true;  ///< false: no state beat the start on held-out windows, so the start was put back
  int64_t restarts = 0;  ///< how often it diverged and started over at half the learning rate
  int64_t retries = 0;   ///< how often it got no better and started over at a quarter of it
  double learning_rate = 0;  ///< peak rate of the last attempt; 0: no descent
};

/// Trains the region's kept weights, norms and biases in place by AdamW so that its output matches the
/// target, then keeps the best state seen at the end of an epoch on held-out windows, or the start if none
/// beat it. A loss or gradient that is not finite starts it over at half the rate, `restarts` times at most;
/// throws Numerical naming the region and the step after that, Interrupted on request. Training that no state
/// of was kept starts over at a quarter of the rate, `retries` times at most.
RegionOutcome descend(Region& region, const RegionData& data, const DescentRecipe& recipe,
                      RandomStream& random, const std::string& name);

}  // namespace freelunch::reconstruct
