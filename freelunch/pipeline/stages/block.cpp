#include <cmath>

#include "freelunch/pipeline/stages/region_descent.h"
#include "freelunch/pipeline/stages/stage.h"

namespace freelunch::pipeline {
namespace {

/// Each of the sublayers in series adds its change to the region's output, so each may move less.
double rate(int64_t blocks) { return 6e-3 / std::sqrt(static_cast<double>(2 * blocks)); }

}  // namespace

/// Gradient descent on K consecutive blocks at a time.
const StageType& block_stage() {
  static const StageType type{
      .name = "block",
      .takes_count = true,
      .default_rate = &rate,
      .budget = [](const CostModel& cost,
                   const Stage& stage) { return region_budget(cost, stage, 2 * stage.blocks); },
      .run = [](RunContext& run, const Stage& stage) { repair_regions(run, stage, 2 * stage.blocks); }};
  return type;
}

}  // namespace freelunch::pipeline
