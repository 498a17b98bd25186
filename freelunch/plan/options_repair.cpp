#include "freelunch/plan/options.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;
using R = Rows<CompressPlan>;
using P = CompressPlan;

constexpr EnumNames<bool, 2> kSensitivityNames{{{false, "none"}, {true, "kronecker"}}};
constexpr EnumNames<bool, 2> kGuardNames{{{true, "on"}, {false, "off"}}};
constexpr ValueRange kLearningRates{.least = 0, .most = 1, .least_excluded = true, .most_excluded = true};

constexpr std::string_view kRateUnitHelp =
    "Unit of a learning rate that is given: absolute, or relative (to the size of the weights)";

PlanOption repair_row() {
  PlanOption row{
      {.name = "repair", .help = "auto, none, or stages in order", .kind = ValueKind::kStages}, {}, {}};
  row.assign = [](P& plan, const json& v) { plan.repair = parse_repair(v.get<std::string>()); };
  row.value = [](const P& plan) {
    if (plan.repair.automatic) return json("auto");
    json stages = json::array();
    for (const Stage& stage : plan.repair.stages) stages.push_back(to_string(stage));
    return stages;
  };
  return row;
}

PlanOption guard_row() {
  return R::word("guard",
                 "on: undo a stage that does not lower the KL divergence from the dense model on held-out "
                 "windows; off: only report it",
                 Use::kCalibration, kGuardNames, field(&P::guard));
}

std::vector<PlanOption> solve_options() {
  using G = reconstruct::ClosedFormGrid;
  return {
      R::word("sensitivity",
              "Weighting of output errors: none, or kronecker (by their effect on the model's likelihood)",
              Use::kSolve, kSensitivityNames, field(&P::sensitivity)),
      R::number("sensitivity-damping",
                "Identity added to the output metric of the sensitivity, relative to its mean diagonal",
                Use::kSensitivity, above_to(0, 1000), field(&P::sensitivity_damping))
          .needing("sensitivity"),
      R::flag(
          "sensitivity-masks",
          "Multiply mask scores by the square root of the metric's diagonal; needs weights ranked by matrix",
          Use::kSensitivity, field(&P::sensitivity_masks))
          .needing("sensitivity"),
      R::numbers("lambda",
                 "Regularisation strengths to choose from: pull towards the dense weights, relative to the "
                 "mean diagonal of H",
                 Use::kSolve, from_to(0, 1e9), field(&P::grid, &G::lambdas)),
      R::numbers("blend",
                 "Target inputs to choose from: 0: the pruned model's stream, 1: the dense model's, or a "
                 "value between",
                 Use::kSolve, from_to(0, 1), field(&P::grid, &G::blends)),
      R::number("iterations", "Largest number of conjugate-gradient steps", Use::kSolve, from_to(1, 100000),
                field(&P::grid, &G::iterations)),
      R::number("grid-rows", "Output rows of each matrix on which lambda and blend are chosen", Use::kSolve,
                from_to(1, 1 << 24), field(&P::grid, &G::rows))};
}

std::vector<PlanOption> region_options() {
  using O = RegionOptions;
  return {
      R::word("loss", "Loss of a region's output", Use::kRegions, reconstruct::kLossNames,
              field(&P::region, &O::loss)),
      R::word("propagation",
              "What a region reads and is compared with: dense (dense stream, dense region), sparse (pruned "
              "stream, dense region) or sparse-dense (pruned stream, dense stream)",
              Use::kRegions, kPropagationNames, field(&P::region, &O::propagation)),
      R::number("learning-rate", "Peak learning rate", Use::kRegions, kLearningRates,
                field(&P::region, &O::learning_rate))
          .without_it("the stage's own, relative to the weights"),
      R::word("rate-unit", kRateUnitHelp, Use::kRegions, reconstruct::kRateUnitNames,
              field(&P::region, &O::rate_unit))
          .without_it("absolute"),
      R::number("epochs", "Passes over the windows", Use::kRegions, from_to(1, 1000000),
                field(&P::region, &O::epochs))
          .without_it("1 if a stage of the whole model runs too, else 2"),
      R::number("batch", "Windows per optimiser step", Use::kRegions, from_to(1, 1 << 24),
                field(&P::region, &O::batch)),
      R::flag("freeze-norms", "Do not train the norms", Use::kRegions, field(&P::region, &O::freeze_norms))};
}

std::vector<PlanOption> model_stage_options() {
  using O = ModelStageOptions;
  using L = reconstruct::LoraSettings;
  return {
      R::word("model-loss", "kl (distillation from the dense model) or ce (cross-entropy of the next token)",
              Use::kWholeModel, reconstruct::kTokenLossNames, field(&P::model_stage, &O::loss)),
      R::number("model-learning-rate", "Peak learning rate", Use::kWholeModel, kLearningRates,
                field(&P::model_stage, &O::learning_rate))
          .without_it("the stage's own, relative to the weights"),
      R::word("model-rate-unit", kRateUnitHelp, Use::kWholeModel, reconstruct::kRateUnitNames,
              field(&P::model_stage, &O::rate_unit))
          .without_it("absolute"),
      R::number("model-epochs", "Passes over the windows", Use::kWholeModel, from_to(1, 1000000),
                field(&P::model_stage, &O::epochs))
          .without_it("1 if a stage of regions runs too, else 2"),
      R::number("model-batch", "Windows per optimiser step", Use::kWholeModel, from_to(1, 1 << 24),
                field(&P::model_stage, &O::batch)),
      R::number("lora-rank", "Rank of the adapters; at most the smaller side of a matrix is used", Use::kLora,
                from_to(1, 1 << 20), field(&P::model_stage, &O::lora, &L::rank)),
      R::number("lora-alpha", "Adapter scale is alpha / rank", Use::kLora, above_to(0, 1e6),
                field(&P::model_stage, &O::lora, &L::alpha))};
}

}  // namespace

std::vector<PlanOption> repair_options() {
  std::vector<PlanOption> rows{repair_row(), guard_row()};
  for (const auto& part : {solve_options(), region_options(), model_stage_options()})
    rows.insert(rows.end(), part.begin(), part.end());
  return grouped<P>("Repair", rows);
}

}  // namespace freelunch::pipeline
