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
  RateUnit rate_unit = RateUnit::kAbsolute;
  int64_t epochs = 2;
  int64_t batch = kDefaultBatch;  ///< windows in a step
  bool freeze_norms = false;
  int64_t restarts = 0;  ///< how often a region that diverges is restarted, each time at half the rate
  int64_t retries =
      0;  ///< how often a region that did not improve is retried, each time at a quarter of the rate
};

/// A region's inputs (n, l, in) and targets (n, l, out). The last `held_out` windows are not trained on.
struct RegionData {
  const model::ActivationStore& inputs;
  const model::ActivationStore& targets;
  int64_t held_out = 0;
  NextReader next;  ///< for Loss::kNextNorm and Loss::kReaderMse
};

/// Mean loss per token before and after training. `before` and `after` are on calibration windows: as many as
/// are held out, evenly spaced, or all of them if none is held out.
struct RegionOutcome {
  double before = 0, after = 0, held_out_before = 0, held_out_after = 0;
  bool improved = true;  ///< false: no state beat the start on held-out windows, so the start was restored
  int64_t restarts = 0;  ///< how often the region diverged and was restarted
  int64_t retries = 0;   ///< how often the region did not improve and was retried
  double learning_rate = 0;  ///< the peak rate of the last attempt; 0 if there was no descent
};

/// Trains the region's retained weights, norms and biases in place by AdamW, so that its output matches the
/// target. At the end of an epoch the state is compared on held-out windows; the best one is kept, or the
/// start if none beat it. Without held-out windows the state of the first comparison is kept: with at most
/// two epochs that is the end of training. If a loss or gradient is not finite, training restarts at half the
/// learning rate, at most `restarts` times. If no state improved on the start, training restarts at a quarter
/// of the rate, at most `retries` times. `random` draws the order of windows, the same in every attempt;
/// `name` names the region in errors. Throws Numerical naming region and step if training still diverges,
/// Interrupted on request.
RegionOutcome descend(Region& region, const RegionData& data, const DescentRecipe& recipe,
                      RandomStream& random, const std::string& name);

}  // namespace freelunch::reconstruct
