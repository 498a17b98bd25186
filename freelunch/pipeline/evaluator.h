#pragma once
#include <string>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/evaluate/perplexity.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/plan/plan.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// The tokens of an evaluation text, its documents one after the other; of the first windows only, if the
/// settings want no others. The tokenizer's special tokens are added once, to the first document.
std::vector<int64_t> evaluation_tokens(const std::filesystem::path& text, const std::string& field,
                                       const evaluate::PerplexitySettings& settings,
                                       const tokenizer::Tokenizer& tokenizer, LogSink& log);

/// The evaluation text of a run, tokenised once, and how to score it.
class Evaluator {
 public:
  /// Throws InvalidArgument if the text has fewer tokens than one window.
  Evaluator(const EvaluationOptions& options, const OpenedModel& opened, const backend::Compute& compute,
            Sinks sinks);

  /// Whether the plan asks for an evaluation.
  bool wanted() const { return !tokens_.empty(); }
  /// Windows that will be scored, and tokens of each.
  int64_t windows() const;
  int64_t length() const { return settings_.length; }
  evaluate::Perplexity run(const model::WeightView& weights) const {
    return evaluate::perplexity(weights, tokens_, settings_, compute_, progress_);
  }

 private:
  backend::Compute compute_;
  ProgressSink& progress_;
  std::vector<int64_t> tokens_;
  evaluate::PerplexitySettings settings_;
};

/// The budget of one evaluation, named `name`.
StageBudget evaluation_budget(const CostModel& cost, const std::string& name);

}  // namespace freelunch::pipeline
