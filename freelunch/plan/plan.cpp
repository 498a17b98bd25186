#include "freelunch/plan/plan.h"

#include "freelunch/base/error.h"

namespace freelunch::pipeline {

void require_models(const CompressPlan& plan) {
  for (const std::filesystem::path& path : {plan.model, plan.dense}) {
    std::error_code error;
    if (!path.empty() && !std::filesystem::exists(path, error))
      fail(ErrorKind::kBadFile, "model '{}' does not exist", path.string());
  }
}

double learning_rate(const CompressPlan& plan, const Stage& stage, int64_t width) {
  const auto& chosen = is_local(stage) ? plan.region.learning_rate : plan.model_stage.learning_rate;
  return chosen.value_or(default_rate(stage, width));
}

}  // namespace freelunch::pipeline
