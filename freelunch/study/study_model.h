#pragma once
#include <filesystem>
#include <vector>

#include "freelunch/base/sinks.h"
#include "freelunch/pipeline/evaluator.h"
#include "freelunch/study/study_plan.h"
#include "freelunch/study/study_records.h"

namespace freelunch::study {

/// One of the study's models, open, with its evaluation texts tokenised. The study must outlive it.
class StudyModel {
 public:
  StudyModel(const StudyPlan& study, const std::filesystem::path& path, const backend::Compute& compute,
             Sinks sinks);

  const pipeline::OpenedModel& opened() const { return opened_; }

  /// Evaluates weights of this model on every text and task of the study. Throws Interrupted on request.
  Measurements measure(const model::WeightView& weights);

 private:
  const StudyPlan& study_;
  backend::Compute compute_;
  Sinks sinks_;
  pipeline::OpenedModel opened_;
  std::vector<pipeline::Evaluator> evaluators_;
  std::vector<std::vector<evaluate::ChoiceExample>> examples_;
};

}  // namespace freelunch::study
