#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/pipeline/stages/whole_model.h"

namespace freelunch::pipeline {

/// Gradient descent on biases and norms of the whole model.
const StageType& bias_norm_stage() {
  static const StageType type{.name = "bias-norm",
                              .scope = StageScope::kModel,
                              .trains = reconstruct::Trains::kBiasNorm,
                              .default_rate = [](int64_t) { return 1.2e-2; },
                              .budget = &whole_model_budget,
                              .run = &repair_model};
  return type;
}

}  // namespace freelunch::pipeline
