#include "freelunch/study/study_model.h"

#include "freelunch/evaluate/choice_score.h"

namespace freelunch::study {
namespace {

TaskRecord record_of(const evaluate::ChoiceScore& score) {
  return {.examples = static_cast<int64_t>(score.examples.size()) - score.unscored,
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
  for (const Evaluation& e : study.evaluations) evaluators_.emplace_back(e.options, opened_, compute, sinks);
  for (const evaluate::ChoiceTask& task : study.tasks)
    examples_.push_back(evaluate::read_examples(task, study.task_limit, sinks.log).examples);
}

Measurements StudyModel::measure(const model::WeightView& weights) {
  Measurements measured;
  for (size_t i = 0; i < evaluators_.size(); ++i)
    measured.figures[study_.evaluations[i].name] = evaluators_[i].run(weights);
  for (size_t i = 0; i < examples_.size(); ++i) {
    const evaluate::ChoiceScore score = evaluate::score_choices(weights, opened_.require_tokenizer(),
                                                                examples_[i], compute_, sinks_.progress);
    if (score.unscored > 0)
      sinks_.log.log(LogLevel::kWarning, fmt::format("task {}, {}; examples that cannot be scored: {} of {}",
                                                     study_.tasks[i].name, score.first_unscored,
                                                     score.unscored, score.examples.size()));
    measured.tasks[study_.tasks[i].name] = record_of(score);
  }
  return measured;
}

}  // namespace freelunch::study
