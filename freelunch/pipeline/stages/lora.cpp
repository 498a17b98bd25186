#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/pipeline/stages/whole_model.h"

namespace freelunch::pipeline {

/// Gradient descent on masked low-rank adapters of the whole model, merged into the weights at the end.
const StageType& lora_stage() {
  static const StageType type{.name = "lora",
                              .scope = StageScope::kModel,
                              .trains = reconstruct::Trains::kLora,
                              .default_rate = [](int64_t) { return 7.7e-3; },
                              .budget = &whole_model_budget,
                              .run = &repair_model};
  return type;
}

}  // namespace freelunch::pipeline
