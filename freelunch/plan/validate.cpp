#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/plan/options.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {
namespace {

bool is_n_of_m(const CompressPlan& plan) {
  return plan.pattern && std::holds_alternative<sparsity::NofM>(*plan.pattern);
}

void check_ranges(const CompressPlan& plan) {
  for (const PlanOption& option : plan_options()) {
    if (option.name == "criterion" && plan.own_criterion) continue;  // its name is none of the choices
    if (const nlohmann::json value = option.value(plan); !value.is_null()) checked(option, value);
  }
}

/// `sensitivity-masks` needs the metric, a criterion with scores, and weights of several rows that compete.
void check_sensitivity_masks(const CompressPlan& plan) {
  if (!plan.sensitivity)
    fail(ErrorKind::kInvalidArgument,
         "`sensitivity-masks` needs `sensitivity` kronecker, which measures the metric");
  if (!plan.dense.empty())
    fail(ErrorKind::kInvalidArgument,
         "`sensitivity-masks` affects the choice of masks, but the model came with its own masks");
  if (!criterion_of(plan).has_scores)
    fail(ErrorKind::kInvalidArgument,
         "`sensitivity-masks` multiplies the scores of a criterion, but `criterion` {} has no scores",
         plan.criterion);
  if (is_n_of_m(plan))
    fail(ErrorKind::kInvalidArgument,
         "`sensitivity-masks` weighs rows against each other, but with `pattern` {} the {} weights that "
         "compete are of one row",
         sparsity::to_string(*plan.pattern), std::get<sparsity::NofM>(*plan.pattern).of);
  if (plan.group.value_or(criterion_of(plan).group) == sparsity::Group::kRow)
    fail(ErrorKind::kInvalidArgument,
         "`sensitivity-masks` weighs rows against each other, but the weights of each row compete only among "
         "themselves; set `group` matrix");
}

void check_solve(const CompressPlan& plan) {
  if (plan.sensitivity_masks) check_sensitivity_masks(plan);
  if (blends_dense_stream(plan) && plan.statistics == StatisticsSource::kDense)
    fail(ErrorKind::kInvalidArgument,
         "`blend` mixes the pruned and the dense stream, but with `statistics` dense there is only one");
}

void check_masks(const CompressPlan& plan) {
  if (plan.allocation == sparsity::Allocation::kOwl && is_n_of_m(plan))
    fail(ErrorKind::kInvalidArgument,
         "`allocation` owl sets the fraction of zeros of each block, which `pattern` {} fixes",
         sparsity::to_string(*plan.pattern));
  if (plan.allocation == sparsity::Allocation::kOwl && plan.calibration.text.empty())
    fail(ErrorKind::kInvalidArgument, "`allocation` owl needs a `calibration` text");
  if (plan.group && is_n_of_m(plan))
    fail(ErrorKind::kInvalidArgument,
         "`group` says which weights compete with unstructured `sparsity`; with `pattern` {} each {} "
         "weights compete",
         sparsity::to_string(*plan.pattern), std::get<sparsity::NofM>(*plan.pattern).of);
}

void check_structure(const CompressPlan& plan) {
  const model::ShapeRequest& shape = plan.structure.shape;
  if (!plan.structure.asks()) return;
  if (plan.structure.size && shape.asks())
    fail(ErrorKind::kInvalidArgument,
         "`size` finds a shape, so none of `mlp`, `kv-groups`, `heads`, `experts` and `blocks` can be given "
         "with it");
  if (plan.structure.size && (plan.calibration.text.empty() || plan.calibration.held_out == 0))
    fail(ErrorKind::kInvalidArgument,
         "`size` compares shapes on held-out windows, so it needs a `calibration` text and `held-out` above "
         "0");
  if (!plan.dense.empty())
    fail(ErrorKind::kInvalidArgument,
         "a smaller shape (`mlp`, `kv-groups`, `heads`, `experts`, `blocks`, `size`) is cut from a dense "
         "model, but this one came pruned");
  const bool by_loss = shape.blocks && plan.structure.block_criterion == structure::BlockCriterion::kLoss;
  if (by_loss && plan.calibration.held_out == 0)
    fail(ErrorKind::kInvalidArgument,
         "`block-criterion` loss compares on held-out windows, so it needs `held-out` above 0");
  if (plan.calibration.text.empty() && reads_inputs(plan.structure))
    fail(
        ErrorKind::kInvalidArgument,
        "`blocks`, `unit-criterion` {} and `expert-criterion` {} need a `calibration` text; without one, use "
        "magnitude or random, and `repair` none",
        plan.structure.criterion, name_in(structure::kExpertCriterionNames, plan.structure.expert_criterion));
}

void check_inputs(const CompressPlan& plan, bool repairs) {
  if (!plan.dense.empty() && !repairs)
    fail(ErrorKind::kInvalidArgument,
         "the model came pruned and keeps its masks, so `repair` none leaves nothing to do");
  const bool criterion_reads =
      criterion_of(plan).needs_inputs() && (prunes_weights(plan) || !plan.structure.asks());
  if (plan.calibration.text.empty() && (repairs || criterion_reads))
    fail(ErrorKind::kInvalidArgument,
         "{} needs a `calibration` text; without one, use `criterion` magnitude and `repair` none",
         repairs ? "repair" : "criterion " + plan.criterion);
  if (!repairs && plan.region.propagation != Propagation::kSparseDense)
    fail(ErrorKind::kInvalidArgument, "`propagation` says how regions are trained, but the repair is none");
}

/// Tensors in memory keep their shapes and dtypes.
void check_in_place(const CompressPlan& plan) {
  if (!plan.in_place) return;
  const auto refuse = [](std::string_view what) {
    fail(ErrorKind::kInvalidArgument, "{}, but the model is changed in place; set `output` to write a folder",
         what);
  };
  if (plan.structure.asks())
    refuse(
        "a smaller shape (`mlp`, `kv-groups`, `heads`, `experts`, `blocks`, `size`) needs smaller tensors");
  if (plan.saved_as.format != Format::kHuggingFace) refuse("`format` is of files");
  if (plan.saved_as.dtype) refuse("`dtype` is of files");
  if (plan.saved_as.shard_bytes) refuse("`shard-size` is of files");
}

}  // namespace

void validate(const CompressPlan& plan) {
  check_ranges(plan);
  validate(plan.saved_as);
  if (plan.output.extension() == ".gguf")
    fail(ErrorKind::kInvalidArgument,
         "`output` '{}' is a folder, which holds the report too, so its name cannot end in .gguf; name a "
         "folder and set `format` gguf",
         plan.output.string());
  const bool repairs = plan.repair.automatic || !plan.repair.stages.empty();
  check_in_place(plan);
  check_structure(plan);
  check_inputs(plan, repairs);
  check_solve(plan);
  check_masks(plan);
}

}  // namespace freelunch::pipeline
