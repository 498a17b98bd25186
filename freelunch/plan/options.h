#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "freelunch/plan/option.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {

using PlanOption = Option<CompressPlan>;

/// The table of options of compress, reconstruct and plan: every field of a CompressPlan but `model`,
/// `command`, and what only a calling program can give (`live`, `in_place`, `own_criterion`). The command
/// line, study files, fingerprints, freelunch.json, the checks of ranges and docs/options.md all read it. To
/// add an option, add a row.
const std::vector<PlanOption>& plan_options();
/// nullptr if there is none.
const PlanOption* find_option(std::string_view name);

/// Sets the option from text, as a command line does. Throws InvalidArgument naming the field.
void parse_option(CompressPlan& plan, std::string_view name, std::string_view text);

/// Whether the option changes anything in a run of these stages.
bool applies(const OptionFacts& option, const CompressPlan& plan, std::span<const StageSettings> stages);

/// The rows by group, in the order of the table.
std::vector<PlanOption> output_options();
std::vector<PlanOption> run_options();
std::vector<PlanOption> pruning_options();
std::vector<PlanOption> structure_options();
std::vector<PlanOption> calibration_options();
std::vector<PlanOption> repair_options();
std::vector<PlanOption> memory_options();
std::vector<PlanOption> evaluation_options();

/// `group` as the group of each row.
template <typename Plan>
std::vector<Option<Plan>> grouped(std::string_view group, std::vector<Option<Plan>> rows) {
  for (Option<Plan>& row : rows) row.group = group;
  return rows;
}

/// `threads`, `device` and `compute` of any plan with ComputeOptions.
template <typename Plan>
std::vector<Option<Plan>> machine_options(backend::ComputeOptions Plan::*options) {
  using R = Rows<Plan>;
  using backend::ComputeOptions;
  return grouped<Plan>(
      "Machine",
      {R::number("threads", "Number of CPU threads; 0: one per core", Use::kEveryRun, from_to(0, 4096),
                 field(options, &ComputeOptions::threads)),
       R::text("device", "Device to compute on: auto (a CUDA device if there is one), cpu, cuda or cuda:N",
               Use::kEveryRun, field(options, &ComputeOptions::device))
           .of_form("auto, cpu, cuda or cuda:N"),
       R::word("compute", "Dtype of matrix products; auto: bf16 if the hardware has it, else fp32",
               Use::kEveryRun, {"auto", "fp32", "bf16"}, field(options, &ComputeOptions::compute))});
}

/// How a model is written, apart from the format.
template <typename Plan>
std::vector<Option<Plan>> saving_options(OutputOptions Plan::*options) {
  using R = Rows<Plan>;
  return grouped<Plan>(
      "Output",
      {R::word("dtype", "Dtype of the saved weights; q8_0 exists in GGUF only", Use::kEveryRun,
               kOutputDtypeNames, field(options, &OutputOptions::dtype))
           .without_it("the dtype of each tensor in the input")
           .with(Effect::kNone),
       R::bytes("shard-size", "Largest number of bytes of tensors per file, such as 5GB", Use::kEveryRun,
                field(options, &OutputOptions::shard_bytes))
           .without_it("as the input; 5GB if the input is a GGUF file")
           .with(Effect::kNone),
       R::flag("plain-zeros", "Save negative zeros as positive zeros, which a sparse archive does not store",
               Use::kEveryRun, field(options, &OutputOptions::plain_zeros))
           .with(Effect::kNone)});
}

}  // namespace freelunch::pipeline
