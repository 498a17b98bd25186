#pragma once
#include <ATen/core/TensorBody.h>

#include <array>
#include <functional>
#include <vector>

#include "base/random.h"
#include "model/block.h"
#include "model/forward.h"
#include "reconstruct/loss.h"
#include "reconstruct/schedule.h"
#include "sparsity/mask.h"

namespace freelunch::reconstruct {

/// The masks of one block, by part; a part without one is dense.
struct BlockMasks {
  std::array<sparsity::Mask, model::kPartCount> masks;
  sparsity::Mask& operator[](model::Part part) { return masks[static_cast<size_t>(part)]; }
  const sparsity::Mask& operator[](model::Part part) const { return masks[static_cast<size_t>(part)]; }
};

/// One half of a region, in the order of the forward pass. The block holds fp32 master weights.
struct RegionHalf {
  model::Block* block;
  const BlockMasks* masks;
  model::Half half;
};

/// A region maps the residual stream to the residual stream: one half, a block, several blocks.
using Region = std::vector<RegionHalf>;

struct DescentRecipe {
  Loss loss = Loss::kRelativeMse;
  AdamSettings adam;
  int64_t epochs = 2;
  int64_t batch = 4;  ///< windows a step
  bool freeze_norms = false;
};

/// A region's input stream and target, windows first: (n, l, d) fp32. The last `held_out` windows are not
/// trained on.
struct RegionData {
  at::Tensor inputs;
  at::Tensor targets;
  int64_t held_out = 0;
  NextNorm next_norm;
};

/// Mean loss per token before and after, on calibration windows (as many, evenly spaced, as are held out, or
/// all if none is) and on held-out windows.
struct RegionOutcome {
  double before = 0, after = 0, held_before = 0, held_after = 0;
  bool kept = true;  ///< false: no state beat the start on held-out windows, so the start was put back
};

/// Trains the region's kept weights, norms and biases in place by AdamW so that its output matches the
/// target, then keeps the best state seen at the end of an epoch on held-out windows, or the start if none
/// beat it. Throws Numerical naming `region` and the step if a loss is not finite, Interrupted on request.
RegionOutcome descend(const model::Forward& forward, const Region& region, const RegionData& data,
                      const DescentRecipe& recipe, RandomStream& random, const std::string& name);

/// The region's output for inputs (n, l, d), a few windows at a time; matrices in the compute dtype. No
/// gradients.
at::Tensor run_region(const model::Forward& forward, const Region& region, const at::Tensor& inputs);

}  // namespace freelunch::reconstruct
