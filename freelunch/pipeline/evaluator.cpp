#include "freelunch/pipeline/evaluator.h"

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/calibration/windows.h"
#include "freelunch/evaluate/final_stream.h"

namespace freelunch::pipeline {

std::vector<int64_t> evaluation_tokens(const std::filesystem::path& path, const std::string& field,
                                       const evaluate::PerplexitySettings& settings,
                                       const tokenizer::Tokenizer& tokenizer, LogSink& log) {
  const bool first = settings.windows.has_value() && !settings.from_end;
  const calibration::Documents documents = [&](const text::Visit& visit) {
    text::for_each_document(path, {.one_document_a_line = false, .field = field}, log, visit);
  };
  return calibration::joined_tokens(documents, tokenizer,
                                    first ? *settings.windows * settings.length : INT64_MAX,
                                    /*add_special=*/true);
}

Evaluator::Evaluator(const EvaluationOptions& options, const OpenedModel& opened,
                     const backend::Compute& compute, Sinks sinks)
    : compute_(compute), progress_(sinks.progress) {
  if (options.text.empty()) return;
  settings_.length = options.length.value_or(std::min<int64_t>(opened.model->config().max_length, 2048));
  settings_.windows = options.windows;
  settings_.from_end = options.from_end;
  tokens_ = evaluation_tokens(options.text, options.field.value_or("text"), settings_,
                              opened.require_tokenizer(), sinks.log);
  if (static_cast<int64_t>(tokens_.size()) < settings_.length) {
    fail(ErrorKind::kInvalidArgument,
         "the evaluation text has {} tokens, fewer than one window of {}; set `evaluate-length`",
         tokens_.size(), settings_.length);
  }
}

int64_t Evaluator::windows() const {
  const int64_t all = static_cast<int64_t>(tokens_.size()) / settings_.length;
  return settings_.windows ? std::min(all, *settings_.windows) : all;
}

/// activations: the residual streams of as many windows as evaluate::kStreamBytes holds. Then the larger of
/// two phases: a block in the compute dtype with the matrix that is being read or a pass; or the head with a
/// few rows of logits and one window's hidden states. Operations: one forward pass and one product with the
/// head.
StageBudget evaluation_budget(const CostModel& cost, const std::string& name) {
  StageBudget stage = cost.start(name);
  const MeasuredSizes& sizes = cost.inputs().sizes;
  const model::Config& config = cost.config();
  const int64_t window = sizes.eval_length * config.width * kFp32Bytes;
  stage.activations =
      std::min(sizes.evaluated, evaluate::windows_together(sizes.eval_length, config.width)) * window;
  const int64_t head = cost.head_elements() * cost.compute_bytes();
  const int64_t block = cost.block_elements() * cost.compute_bytes();
  const int64_t reading = cost.largest_matrix() * kFp32Bytes;
  const int64_t passing = block + std::max(reading, cost.widest_pass(sizes.eval_length));
  const int64_t scoring = head + model::kLogitRows * config.vocabulary * cost.compute_bytes() +
                          cost.softmax(model::kLogitRows) + window;
  stage.weights = scoring > passing ? head : block;
  stage.workspace = std::max(scoring, passing) - stage.weights;
  const auto tokens = static_cast<double>(sizes.evaluated * sizes.eval_length);
  cost.spend(stage,
             tokens * (static_cast<double>(config.blocks) * cost.forward_block(sizes.eval_length) +
                       2.0 * static_cast<double>(cost.head_elements())),
             0, 0);
  return stage;
}

}  // namespace freelunch::pipeline
