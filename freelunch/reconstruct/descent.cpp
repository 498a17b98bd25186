#include "reconstruct/descent.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/interrupt.h"
#include "reconstruct/masked_adam.h"

namespace freelunch::reconstruct {
namespace {

/// The trained tensors of a region and the optimiser over them.
struct Trainer {
  explicit Trainer(const DescentRecipe& recipe) : optimiser(recipe.adam) {}

  void add(const Region& region, bool freeze_norms) {
    for (TrainedTensor& trained : region.trained(freeze_norms)) {
      trained.tensor.requires_grad_(true);
      parameters.push_back(trained.tensor);
      optimiser.add(trained.tensor, trained.mask);
    }
  }

  void step(double rate) {
    std::vector<at::Tensor> gradients;
    for (at::Tensor& parameter : parameters) {
      gradients.push_back(parameter.grad());
      parameter.mutable_grad() = at::Tensor();
    }
    optimiser.step(std::move(gradients), rate);
  }

  std::vector<at::Tensor> snapshot() const {
    std::vector<at::Tensor> copies;
    for (const at::Tensor& parameter : parameters) copies.push_back(parameter.detach().clone());
    return copies;
  }

  void restore(const std::vector<at::Tensor>& copies) {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < copies.size(); ++i) parameters[i].copy_(copies[i]);
  }

  std::vector<at::Tensor> parameters;
  MaskedAdam optimiser;
};

at::Tensor rows_of(const at::Tensor& t, const at::Tensor& windows) {
  return t.index_select(0, windows).to(at::kFloat);
}

double mean_loss(const Region& region, const RegionData& data, const at::Tensor& windows, Loss loss) {
  if (windows.numel() == 0) return 0;
  const at::Tensor y = region.run(data.inputs.index_select(0, windows)).to(at::kFloat);
  return evaluate(loss, y, rows_of(data.targets, windows), data.next_norm).item<double>();
}

}  // namespace

RegionOutcome descend(const Region& region, const RegionData& data, const DescentRecipe& recipe,
                      RandomStream& random, const std::string& name) {
  const int64_t trained = data.inputs.size(0) - data.held_out;
  const auto index_options = at::TensorOptions().dtype(at::kLong).device(data.inputs.device());
  const at::Tensor held = at::arange(trained, trained + data.held_out, index_options);
  const int64_t seen = data.held_out > 0 ? std::min(data.held_out, trained) : trained;
  const at::Tensor sample = at::arange(seen, index_options) * trained / seen;
  const at::Tensor sampled = sample.to(at::kLong);

  RegionOutcome outcome;
  outcome.before = mean_loss(region, data, sampled, recipe.loss);
  outcome.held_before = mean_loss(region, data, held, recipe.loss);

  Trainer trainer(recipe);
  trainer.add(region, recipe.freeze_norms);
  std::vector<at::Tensor> best = trainer.snapshot();
  double best_loss = data.held_out > 0 ? outcome.held_before : std::numeric_limits<double>::infinity();
  outcome.kept = false;

  const int64_t steps_per_epoch = (trained + recipe.batch - 1) / recipe.batch;
  const int64_t steps = recipe.epochs * steps_per_epoch;
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < recipe.epochs; ++epoch) {
    const at::Tensor order = at::tensor(random.permutation(trained)).to(data.inputs.device());
    for (int64_t i = 0; i < trained; i += recipe.batch, ++step) {
      throw_if_interrupted();
      const at::Tensor windows = order.narrow(0, i, std::min(recipe.batch, trained - i));
      const at::Tensor y = region.forward(data.inputs.index_select(0, windows)).to(at::kFloat);
      const at::Tensor loss = evaluate(recipe.loss, y, rows_of(data.targets, windows), data.next_norm);
      if (!std::isfinite(loss.item<double>())) {
        fail(ErrorKind::kNumerical,
             "{}: the loss is not finite at step {} of {}; try a lower learning rate than {}", name, step + 1,
             steps, recipe.adam.learning_rate);
      }
      loss.backward();
      trainer.step(scheduled_rate(recipe.adam.learning_rate, step, steps));
    }
    // The rate has not come down before the last epoch, so only the end of the run and the start are
    // candidates worth an evaluation when there are few epochs.
    const bool last = epoch + 1 == recipe.epochs;
    if (!last && recipe.epochs <= 2) continue;
    const double loss = data.held_out > 0 ? mean_loss(region, data, held, recipe.loss) : 0;
    if (loss < best_loss) {
      best_loss = loss;
      outcome.kept = true;
      if (!last)
        best = trainer.snapshot();
      else
        best.clear();
    }
  }
  if (!best.empty()) trainer.restore(best);
  for (at::Tensor& parameter : trainer.parameters) parameter.requires_grad_(false);
  outcome.held_after = data.held_out > 0 ? best_loss : 0;
  outcome.after = mean_loss(region, data, sampled, recipe.loss);
  return outcome;
}

}  // namespace freelunch::reconstruct
