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
  std::string skipped = {};             ///< why it was not scored; empty: it was
};

/// A fraction in [0, 1] and its standard error: sample deviation / sqrt(n), 0 for one example.
struct Share {
  double value = 0;
  double error = 0;
};

struct ChoiceScore {
  Share accuracy;                      ///< of `best`, the harness's acc
  Share accuracy_normed;               ///< of `best_normed`, the harness's acc_norm
  std::vector<ChoiceResult> examples;  ///< in the order given, with those that were skipped
  int64_t scored = 0;                  ///< examples that were not skipped
};

/// Scores examples as the LM evaluation harness does (docs/methods/zero_shot.md). Answers with the same
/// context share its computation: they follow it in one sequence, and each attends to the context and to
/// itself. Sequences are sorted by length; each block is read once per 32,768 tokens. A sequence longer than
/// the model's maximum loses its beginning. An empty context is BOS, or EOS if the tokenizer has no BOS. An
/// example is skipped if it has a fault, an answer that alone is too long or has no tokens, a token without a
/// row in the embedding, or an empty context where there is neither BOS nor EOS. Throws BadFile, with the
/// first reason, if all are skipped; Interrupted on request.
ChoiceScore score_choices(const model::WeightView& weights, const tokenizer::Tokenizer& tokenizer,
                          const std::vector<ChoiceExample>& examples, const backend::Compute& compute,
                          ProgressSink& progress);

/// "skipped 2 of 40 examples: REASON; REASON"; empty if none was.
std::string skipped_text(const ChoiceScore& score);

}  // namespace freelunch::evaluate
