#include "freelunch/plan/options.h"

#include <algorithm>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

using R = Rows<CompressPlan>;
using P = CompressPlan;

}  // namespace

std::vector<PlanOption> output_options() {
  std::vector<PlanOption> rows = grouped<P>(
      "Output",
      {R::path("dense", "The dense model that the pruned model was made from", Use::kEveryRun,
               field(&P::dense))
           .with(Effect::kInput),
       R::path("output", "Folder to write", Use::kEveryRun, field(&P::output)).with(Effect::kNone),
       R::flag("overwrite", "Replace the output folder if it exists", Use::kEveryRun, field(&P::overwrite))
           .with(Effect::kNone),
       R::word("format", "Format of the saved model: hf, gguf (model.gguf in the folder) or bitmask",
               Use::kEveryRun, kFormatNames, field(&P::saved_as, &OutputOptions::format))
           .with(Effect::kNone)});
  for (const PlanOption& row : saving_options(&P::saved_as)) rows.push_back(row);
  return rows;
}

std::vector<PlanOption> run_options() {
  return grouped<P>(
      "Run",
      {R::number("seed", "Seed of every random choice", Use::kEveryRun, from_to(0, 9007199254740991),
                 field(&P::seed)),
       R::flag("restart", "Discard an unfinished run of this output instead of resuming it", Use::kEveryRun,
               field(&P::restart))
           .with(Effect::kNone),
       R::number("commit-seconds", "Seconds between checkpoints within a region; 0: after each step",
                 Use::kEveryRun, from_to(0, 31536000), field(&P::commit_seconds))
           .with(Effect::kNone),
       R::word("on-divergence",
               "What to do if a loss or gradient is not finite: stop, or restart the region at half the "
               "learning rate, at most twice",
               Use::kEveryRun, kOnDivergenceNames, field(&P::on_divergence))
           .with(Effect::kReported)});
}

std::vector<PlanOption> memory_options() {
  using M = MemoryOptions;
  return grouped<P>(
      "Memory",
      {R::word("activations",
               "Where residual streams are kept: in memory (the device's), host (the machine's, next to a "
               "device) or disk; auto: the first that has enough space",
               Use::kEveryRun, kActivationPlacementNames, field(&P::memory, &M::activations))
           .with(Effect::kReported),
       R::word("activation-dtype", "Dtype of residual streams; auto: fp32, or bf16 if fp32 does not fit",
               Use::kEveryRun, kActivationDtypeNames, field(&P::memory, &M::activation_dtype)),
       R::bytes("memory-limit",
                "Memory that the run may use (the device's with a CUDA device), such as 2GiB; settings are "
                "chosen to fit, or the run is refused",
                Use::kEveryRun, field(&P::memory, &M::limit))
           .without_it("90 % of the free memory")
           .with(Effect::kReported)});
}

std::vector<PlanOption> evaluation_options() {
  using E = EvaluationOptions;
  PlanOption windows = R::number("evaluate-windows", "Number of windows of the text to evaluate; 0: all",
                                 Use::kEvaluation, from_to(0, 1 << 30), field(&P::evaluation, &E::windows));
  windows.assign = [](P& plan, const nlohmann::json& v) {
    const auto count = v.get<int64_t>();
    plan.evaluation.windows = count > 0 ? std::optional(count) : std::nullopt;
  };
  windows.value = [](const P& plan) { return plan.evaluation.windows.value_or(0); };
  return grouped<P>("Evaluation",
                    {R::path("evaluate", "Text to measure perplexity on, before and after", Use::kEvaluation,
                             field(&P::evaluation, &E::text))
                         .with(Effect::kInput),
                     R::text("evaluate-field", "Field of a JSON text that holds the text", Use::kEvaluation,
                             field(&P::evaluation, &E::field))
                         .without_it("that of the calibration"),
                     windows,
                     R::number("evaluate-length", "Tokens per window", Use::kEvaluation, from_to(2, 1 << 24),
                               field(&P::evaluation, &E::length))
                         .without_it("the model's maximum, at most 2048"),
                     R::flag("evaluate-from-end", "Use the last windows of the text instead of the first",
                             Use::kEvaluation, field(&P::evaluation, &E::from_end))});
}

const std::vector<PlanOption>& plan_options() {
  static const std::vector<PlanOption> all = [] {
    std::vector<PlanOption> rows;
    for (const auto& part :
         {output_options(), run_options(), pruning_options(), structure_options(), calibration_options(),
          repair_options(), evaluation_options(), memory_options(), machine_options(&P::compute)})
      rows.insert(rows.end(), part.begin(), part.end());
    return rows;
  }();
  return all;
}

const PlanOption* find_option(std::string_view name) {
  const auto& all = plan_options();
  const auto it = std::find_if(all.begin(), all.end(), [&](const auto& row) { return row.name == name; });
  return it == all.end() ? nullptr : &*it;
}

void parse_option(CompressPlan& plan, std::string_view name, std::string_view text) {
  const PlanOption* option = find_option(name);
  if (option == nullptr) fail(ErrorKind::kInvalidArgument, "option '{}' is not known", name);
  option->assign(plan, read_value(*option, {std::string(text)}));
}

bool applies(const OptionFacts& option, const CompressPlan& plan, std::span<const StageSettings> stages) {
  const bool automatic = plan.repair.automatic && stages.empty();
  const auto any = [&](StageScope scope) {
    return automatic || std::any_of(stages.begin(), stages.end(),
                                    [&](const StageSettings& s) { return s.scope == scope; });
  };
  switch (option.use) {
    case Use::kEveryRun:
      return true;
    case Use::kMasks:
      return plan.dense.empty();
    case Use::kStructure:
      return plan.dense.empty() && plan.structure.asks();
    case Use::kStatistics:
      return plan.dense.empty() || any(StageScope::kMasks);
    case Use::kCalibration:
      return !plan.calibration.text.empty();
    case Use::kEvaluation:
      return !plan.evaluation.text.empty();
    case Use::kSolve:
      return any(StageScope::kMasks);
    case Use::kSensitivity:
      return plan.sensitivity;
    case Use::kRegions:
      return any(StageScope::kRegions);
    case Use::kWholeModel:
      return any(StageScope::kModel);
    case Use::kLora:
      return std::any_of(stages.begin(), stages.end(),
                         [](const StageSettings& s) { return s.trains == reconstruct::Trains::kLora; });
  }
  return true;
}

}  // namespace freelunch::pipeline
