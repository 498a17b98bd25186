#pragma once
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "freelunch/pipeline/measure.h"
#include "freelunch/plan/option.h"

namespace freelunch::pipeline {

/// The options of `perplexity` and `zeroshot` apart from the model, the tasks and those of the machine.
std::vector<Option<PerplexityPlan>> perplexity_options();
std::vector<Option<ZeroShotPlan>> zeroshot_options();

/// What `perplexity --json` prints.
nlohmann::json to_json(const evaluate::Perplexity& figure, evaluate::Protocol protocol);
/// What `zeroshot --json` prints; with `examples` also the log-likelihoods of every example.
nlohmann::json to_json(const std::vector<ZeroShotResult>& results, bool examples);
/// The examples that the accuracies are of.
int64_t counted(const evaluate::ChoiceScore& score);

}  // namespace freelunch::pipeline
