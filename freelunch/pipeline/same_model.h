#pragma once
#include <vector>

#include "freelunch/model/language_model.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {

/// Checks that a pruned model is the dense one with weights removed. Throws InvalidArgument saying what
/// differs: the architecture, a shape, or, if a stage compares their next-token distributions, the head.
void check_same_model(const model::LanguageModel& pruned, const model::LanguageModel& dense,
                      const CompressPlan& plan, const std::vector<Stage>& stages);

}  // namespace freelunch::pipeline
