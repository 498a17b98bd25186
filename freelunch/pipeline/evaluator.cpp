#include "freelunch/pipeline/evaluator.h"

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/calibration/text.h"

namespace freelunch::pipeline {

Evaluator::Evaluator(const EvaluationOptions& options, const OpenedModel& opened,
                     const backend::Compute& compute, ProgressSink& progress)
    : compute_(compute), progress_(progress) {
  if (options.text.empty()) return;
  for (const std::string& document : calibration::read_documents(options.text)) {
    const auto ids = opened.require_tokenizer().encode(document, tokens_.empty());
    tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  }
  settings_.length = options.length.value_or(std::min<int64_t>(opened.model->config().max_length, 2048));
  settings_.windows = options.windows;
  settings_.from_end = options.from_end;
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

}  // namespace freelunch::pipeline
