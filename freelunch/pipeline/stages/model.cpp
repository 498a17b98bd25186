#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/pipeline/stages/whole_model.h"

namespace freelunch::pipeline {

/// Gradient descent on all retained weights and norms of the model at once.
const StageType& model_stage() {
  static const StageType type{.name = "model",
                              .scope = StageScope::kModel,
                              .trains = reconstruct::Trains::kRetained,
                              .default_rate = [](int64_t) { return 7.7e-4; },
                              .budget = &whole_model_budget,
                              .run = &repair_model};
  return type;
}

}  // namespace freelunch::pipeline
