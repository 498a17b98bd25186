#include "freelunch/study/study_model.h"

#include "freelunch/evaluate/choice_score.h"

namespace freelunch::study {
namespace {

TaskRecord record_of(const evaluate::ChoiceScore& score) {
  return {.examples = score.scored,
          .acc = score.accuracy.value,
          .acc_stderr = score.accuracy.error,
          .acc_norm = score.accuracy_normed.value,
          .acc_norm_stderr = score.accuracy_normed.error};
}

}  // namespace

StudyModel::StudyModel(const StudyPlan& study, const std::filesystem::path& path,
                       const backend::Compute& compute, Sinks sinks)
    : study_(study),
      compute_(compute),
      sinks_(sinks),
      opened_(pipeline::open_model(path, pipeline::TokenizerUse::kRequired, sinks.log)) {
  for (const Evaluation& e : study.evaluations)
    evaluators_.emplace_back(e.options, opened_, compute, sinks.progress);
  for (const evaluate::ChoiceTask& task : study.tasks)
    examples_.push_back(evaluate::read_examples(task, study.task_limit));
}

Measurements StudyModel::measure(const model::WeightView& weights) {
  Measurements measured;
  for (size_t i = 0; i < evaluators_.size(); ++i)
    measured.figures[study_.evaluations[i].name] = evaluators_[i].run(weights);
  for (size_t i = 0; i < examples_.size(); ++i) {
    const evaluate::ChoiceScore score = evaluate::score_choices(weights, opened_.require_tokenizer(),
                                                                examples_[i], compute_, sinks_.progress);
    if (const std::string skipped = skipped_text(score); !skipped.empty())
      sinks_.log.log(LogLevel::kWarning, fmt::format("{}: {}", study_.tasks[i].name, skipped));
    measured.tasks[study_.tasks[i].name] = record_of(score);
  }
  return measured;
}

}  // namespace freelunch::study
