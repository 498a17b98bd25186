#pragma once
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/evaluate/choice_task.h"
#include "freelunch/model/weight_view.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::evaluate {

/// One example as it was scored.
struct ChoiceResult {
  std::vector<double> log_likelihoods;  ///< of each answer, in nats
  int64_t best = 0;                     ///< argmax; ties to the first
  int64_t best_normed = 0;              ///< argmax of log-likelihood / characters
};

/// A share and its standard error, sample deviation / sqrt(n).
struct Share {
  double value = 0;
  double error = 0;
};

struct ChoiceScore {
  Share accuracy, accuracy_normed;
  std::vector<ChoiceResult> examples;
};

/// Scores examples as the commonly used evaluation harness does (docs/methods/zero_shot.md). Answers that
/// share a context share its computation: they are laid side by side after it, each attending to the context
/// and to itself. Sequences are sorted by length; blocks are read once for every few ten thousand tokens.
/// Longer sequences than the model's lose their beginning. Throws Interrupted on request.
ChoiceScore score_choices(const model::WeightView& weights, const tokenizer::Tokenizer& tokenizer,
                          const std::vector<ChoiceExample>& examples, const backend::Compute& compute,
                          ProgressSink& progress);

}  // namespace freelunch::evaluate
