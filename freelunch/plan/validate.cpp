#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/plan/plan.h"

namespace freelunch::pipeline {
namespace {

void require_positive(int64_t value, std::string_view option) {
  if (value < 1) fail(ErrorKind::kInvalidArgument, "{} is {}, expected at least 1", option, value);
}

/// Masks chosen by what outputs are worth: needs those worths, scores, and rows that compete.
void refuse_pointless_sensitivity_masks(const CompressPlan& plan) {
  if (!plan.sensitivity)
    fail(ErrorKind::kInvalidArgument,
         "--sensitivity-masks needs --sensitivity kronecker, which measures the factors");
  if (!plan.dense.empty())
    fail(ErrorKind::kInvalidArgument, "--sensitivity-masks chooses masks, but the model came with its own");
  if (!criteria::criterion_named(plan.criterion).has_scores)
    fail(ErrorKind::kInvalidArgument, "--sensitivity-masks weighs a criterion's scores, but {} has none",
         plan.criterion);
  if (const auto* n = std::get_if<sparsity::NofM>(&plan.pattern)) {
    fail(ErrorKind::kInvalidArgument,
         "--sensitivity-masks weighs rows against each other, but with --pattern {} the {} weights that "
         "compete are of "
         "one row",
         sparsity::to_string(plan.pattern), n->of);
  }
  if (plan.group.value_or(criteria::criterion_named(plan.criterion).group) == sparsity::Group::kRow)
    fail(ErrorKind::kInvalidArgument,
         "--sensitivity-masks weighs rows against each other, but the weights of a row compete among "
         "themselves; pass "
         "--group matrix");
}

/// Combinations that cannot mean anything, each with the reason.
void refuse_contradictions(const CompressPlan& plan, bool repairs) {
  const bool blends =
      std::any_of(plan.grid.blends.begin(), plan.grid.blends.end(), [](double b) { return b != 0; });
  if (!(plan.sensitivity_damping > 0 && plan.sensitivity_damping <= 1000))
    fail(ErrorKind::kInvalidArgument, "--sensitivity-damping is {}, expected a number in (0, 1000]",
         plan.sensitivity_damping);
  if (plan.sensitivity_masks) refuse_pointless_sensitivity_masks(plan);
  if (blends && plan.statistics == StatisticsSource::kDense)
    fail(ErrorKind::kInvalidArgument,
         "--blend mixes the pruned and the dense stream, but with --statistics dense there is only one");
  if (plan.allocation == sparsity::Allocation::kOwl) {
    if (std::holds_alternative<sparsity::NofM>(plan.pattern))
      fail(ErrorKind::kInvalidArgument,
           "--allocation owl gives every block its own fraction of zeros, which pattern {} fixes",
           sparsity::to_string(plan.pattern));
    if (plan.calibration.text.empty())
      fail(ErrorKind::kInvalidArgument, "--allocation owl needs --calibration FILE");
  }
  if (!repairs && plan.region.propagation != Propagation::kSparseDense)
    fail(ErrorKind::kInvalidArgument, "--propagation says how regions are trained, but the repair is none");
}

}  // namespace

void validate(const CompressPlan& plan) {
  const criteria::Criterion& criterion = criteria::criterion_named(plan.criterion);
  const bool repairs = plan.repair.automatic || !plan.repair.stages.empty();
  if (!plan.dense.empty() && !repairs)
    fail(ErrorKind::kInvalidArgument,
         "a model that came pruned has its masks already; --repair none leaves nothing to do");
  if (plan.calibration.text.empty() && (repairs || criterion.needs_inputs())) {
    fail(ErrorKind::kInvalidArgument,
         "a calibration text is needed for {}: pass --calibration FILE, or use --criterion magnitude "
         "--repair none",
         repairs ? "repair" : "criterion " + plan.criterion);
  }
  require_positive(plan.calibration.samples, "--samples");
  if (plan.calibration.length < 2)
    fail(ErrorKind::kInvalidArgument, "--length is {}, expected at least 2", plan.calibration.length);
  if (plan.calibration.held_out < 0) fail(ErrorKind::kInvalidArgument, "--held-out is negative");
  if (plan.commit_seconds < 0) fail(ErrorKind::kInvalidArgument, "--commit-seconds is negative");
  require_positive(plan.region.epochs.value_or(1), "--epochs");
  require_positive(plan.region.batch, "--batch");
  require_positive(plan.model_stage.epochs.value_or(1), "--model-epochs");
  require_positive(plan.evaluation.windows.value_or(1), "--evaluate-windows");
  for (const auto& rate : {plan.region.learning_rate, plan.model_stage.learning_rate}) {
    if (rate && !(*rate > 0 && *rate < 1))
      fail(ErrorKind::kInvalidArgument, "learning rate {} is not in (0, 1)", *rate);
  }
  validate(plan.saved_as);
  if (plan.output.extension() == ".gguf")
    fail(ErrorKind::kInvalidArgument,
         "--output '{}' names a folder, which holds the report too; pass a folder and --format gguf",
         plan.output.string());
  refuse_contradictions(plan, repairs);
  if (plan.group && std::holds_alternative<sparsity::NofM>(plan.pattern)) {
    fail(ErrorKind::kInvalidArgument,
         "--group says what competes under --sparsity; with --pattern {} each {} weights compete",
         sparsity::to_string(plan.pattern), std::get<sparsity::NofM>(plan.pattern).of);
  }
}

}  // namespace freelunch::pipeline
