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

}  // namespace freelunch::pipeline
