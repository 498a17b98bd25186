#pragma once
#include <string>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/evaluate/choice_task.h"
#include "freelunch/model/weight_view.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::evaluate {

/// The scores of one example.
struct ChoiceResult {
  std::vector<double> log_likelihoods;  ///< of each answer, in nats
  int64_t best = 0;                     ///< argmax; ties to the first
  int64_t best_normed = 0;              ///< argmax of log-likelihood / characters; ties to the first
};

/// A fraction in [0, 1] and its standard error: sample deviation / sqrt(n), 0 for one example.
struct Share {
  double value = 0;
  double error = 0;
};

struct ChoiceScore {
  Share accuracy;         ///< of `best`, the harness's acc
  Share accuracy_normed;  ///< of `best_normed`, the harness's acc_norm
  /// In the order given. Those that cannot be scored have no log-likelihoods and do not count.
  std::vector<ChoiceResult> examples;
  int64_t unscored = 0;
  std::string first_unscored;  ///< "example 3: ", what is wrong with it
};

/// Scores examples as the LM evaluation harness does (docs/methods/zero_shot.md). Answers with the same
/// context share its computation: they follow it in one sequence, and each attends to the context and to
/// itself. Sequences are sorted by length; each block is read once per 32,768 tokens. A sequence longer than
/// the model's maximum loses its beginning. An example cannot be scored if an answer alone is too long or
/// adds no token to its context, or if a context is empty and the tokenizer has neither BOS nor EOS. Throws
/// InvalidArgument if no example can be scored; Interrupted on request.
ChoiceScore score_choices(const model::WeightView& weights, const tokenizer::Tokenizer& tokenizer,
                          const std::vector<ChoiceExample>& examples, const backend::Compute& compute,
                          ProgressSink& progress);

}  // namespace freelunch::evaluate
