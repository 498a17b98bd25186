#pragma once
#include <memory>

#include "freelunch/pipeline/evaluator.h"
#include "freelunch/planner/resolved_plan.h"

namespace freelunch::pipeline {

/// Refuses a plan that cannot run, before anything is read. A model that is not there comes first: whoever
/// mistyped its name has no use for other complaints. Throws BadFile or InvalidArgument.
void check_plan(const CompressPlan& plan);

/// The plan's calibration windows, (samples + held_out, length) int64 on the CPU; undefined without a
/// calibration text.
at::Tensor calibration_windows(const CompressPlan& plan, const OpenedModel& opened, LogSink& log);

/// What a run reads before its first stage.
struct RunInputs {
  OpenedModel opened;
  std::unique_ptr<model::LanguageModel> dense;  ///< if the opened model came pruned
  at::Tensor windows;                           ///< calibration_windows
  std::unique_ptr<Evaluator> evaluator;

  const model::LanguageModel& teacher() const { return dense ? *dense : *opened.model; }
};
/// Opens the models and tokenises the texts. The tokenizer is dropped afterwards: no stage needs it.
RunInputs open_inputs(const CompressPlan& plan, const backend::Compute& compute, Sinks sinks);

/// Decides what the plan leaves open, after a short measurement of the machine's speed. Throws
/// InvalidArgument if nothing fits the memory limit, or if the pruned and the dense model do not belong
/// together.
ResolvedPlan resolve_run(const CompressPlan& plan, const RunInputs& inputs, const backend::Compute& compute,
                         Sinks sinks);

/// The shape that the plan asks for, or those that its `size` leaves to try; the model's own if the plan asks
/// for none. Throws InvalidArgument for shapes that no engine loads (model::shrunk).
std::vector<model::Config> smaller_shapes(const CompressPlan& plan, const model::LanguageModel& model);

/// The patterns of the plan, for the shape that it asks for. Throws InvalidArgument if that shape is refused
/// (model::shrunk), if a rule matches no matrix or a pattern does not fit a width.
sparsity::PatternMap checked_patterns(const CompressPlan& plan, const model::LanguageModel& model);

}  // namespace freelunch::pipeline
