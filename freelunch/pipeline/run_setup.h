#pragma once
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "freelunch/pipeline/evaluator.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/planner/resolved_plan.h"

namespace freelunch::pipeline {

/// (samples + held_out, length) int64; undefined without a calibration text.
at::Tensor calibration_windows(const CompressPlan& plan, const OpenedModel& opened);

/// What a run reads before its first stage.
struct RunInputs {
  OpenedModel opened;
  std::unique_ptr<model::LanguageModel> dense;  ///< where the opened model came pruned
  at::Tensor windows;                           ///< calibration_windows
  std::unique_ptr<Evaluator> evaluator;

  const model::LanguageModel& teacher() const { return dense ? *dense : *opened.model; }
};
/// Opens the models and tokenises the texts; the tokenizer is dropped, no stage needs it.
RunInputs open_inputs(const CompressPlan& plan, const backend::Compute& compute, Sinks sinks);

/// Decides what the plan leaves open, after a short measurement of the machine.
ResolvedPlan resolve_run(const CompressPlan& plan, const RunInputs& inputs, const backend::Compute& compute,
                         Sinks sinks);

/// What `freelunch plan` prints: the plan as `compress` would run it. Nothing is written. Throws Error.
nlohmann::json planned_run(const CompressPlan& plan, Sinks sinks);

/// The patterns of the plan, checked against the model's names and widths.
sparsity::PatternMap checked_patterns(const CompressPlan& plan, const model::LanguageModel& model);

/// Counts the zeros of what will be saved, in its saved dtype, against what the pattern asked for. Throws
/// Numerical if a weight that its mask removes is not zero.
void count_zeros(RunContext& run);

}  // namespace freelunch::pipeline
