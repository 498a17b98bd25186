#pragma once
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/evaluate/perplexity.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {

/// The evaluation text of a run, tokenised once, and how it is scored.
class Evaluator {
 public:
  /// Throws InvalidArgument if the text has fewer tokens than one window.
  Evaluator(const EvaluationOptions& options, const OpenedModel& opened, const backend::Compute& compute,
            ProgressSink& progress);

  /// Windows that will be scored, and tokens of each.
  int64_t windows() const;
  int64_t length() const { return settings_.length; }
  bool wanted() const { return !tokens_.empty(); }
  evaluate::Perplexity run(const model::WeightView& weights) const {
    return evaluate::perplexity(weights, tokens_, settings_, compute_, progress_);
  }

 private:
  backend::Compute compute_;
  ProgressSink& progress_;
  std::vector<int64_t> tokens_;
  evaluate::PerplexitySettings settings_;
};

}  // namespace freelunch::pipeline
