#include "freelunch/pipeline/stages/region_descent.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {

/// Gradient descent on attention and MLP sublayers, one after the other.
const StageType& sublayer_stage() {
  static const StageType type{
      .name = "sublayer",
      .random_name = "half",
      .default_rate = [](int64_t) { return 9e-3; },
      .budget = [](const CostModel& cost, const Stage& stage) { return region_budget(cost, stage, 1); },
      .run = [](RunContext& run, const Stage& stage) { repair_regions(run, stage, 1); }};
  return type;
}

}  // namespace freelunch::pipeline
