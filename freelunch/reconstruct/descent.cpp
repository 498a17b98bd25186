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

using model::Block;
using model::Part;

constexpr int64_t kForwardBatch = 4;  // windows at a time where nothing is trained

at::Tensor forward_region(const model::Forward& forward, const Region& region, at::Tensor x) {
  for (const RegionHalf& part : region) x = forward.half(*part.block, part.half, x);
  return x;
}

/// The trained tensors of a region and the optimiser over them.
struct Trainer {
  explicit Trainer(const DescentRecipe& recipe) : optimiser(recipe.adam) {}

  void add(const Region& region, bool freeze_norms) {
    for (const RegionHalf& half : region) {
      for (const Part part : model::parts_of(half.half)) {
        at::Tensor& tensor = (*half.block)[part];
        const bool norm = part == Part::kAttentionNorm || part == Part::kMlpNorm;
        if (!tensor.defined() || (norm && freeze_norms)) continue;
        tensor.requires_grad_(true);
        parameters.push_back(tensor);
        optimiser.add(tensor, (*half.masks)[part]);
      }
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

/// Block weights cast to the compute dtype once, for passes without gradients. `storage` owns the copies.
Region cast_region(const Region& region, at::ScalarType dtype, std::vector<Block>& storage) {
  storage.reserve(region.size());
  Region result;
  for (const RegionHalf& half : region) {
    Block copy;
    for (const Part part : model::parts_of(half.half)) {
      const at::Tensor& tensor = (*half.block)[part];
      if (tensor.defined())
        copy[part] = model::names(part).matrix ? tensor.detach().to(dtype) : tensor.detach();
    }
    storage.push_back(std::move(copy));
    result.push_back({.block = &storage.back(), .masks = half.masks, .half = half.half});
  }
  return result;
}

double mean_loss(const model::Forward& forward, const Region& region, const RegionData& data,
                 const at::Tensor& windows, Loss loss) {
  const int64_t n = windows.numel();
  if (n == 0) return 0;
  const at::Tensor y = run_region(forward, region, data.inputs.index_select(0, windows));
  return evaluate(loss, y, data.targets.index_select(0, windows), data.next_norm).item<double>();
}

}  // namespace

at::Tensor run_region(const model::Forward& forward, const Region& region, const at::Tensor& inputs) {
  const at::NoGradGuard no_grad;
  std::vector<Block> storage;
  const Region cast = cast_region(region, forward.compute().dtype, storage);
  at::Tensor outputs = at::empty_like(inputs);
  for (int64_t i = 0; i < inputs.size(0); i += kForwardBatch) {
    const int64_t n = std::min(kForwardBatch, inputs.size(0) - i);
    outputs.narrow(0, i, n).copy_(forward_region(forward, cast, inputs.narrow(0, i, n)));
  }
  return outputs;
}

RegionOutcome descend(const model::Forward& forward, const Region& region, const RegionData& data,
                      const DescentRecipe& recipe, RandomStream& random, const std::string& name) {
  const int64_t trained = data.inputs.size(0) - data.held_out;
  const auto index_options = at::TensorOptions().dtype(at::kLong).device(data.inputs.device());
  const at::Tensor held = at::arange(trained, trained + data.held_out, index_options);
  const int64_t seen = data.held_out > 0 ? std::min(data.held_out, trained) : trained;
  const at::Tensor sample = at::arange(seen, index_options) * trained / seen;
  const at::Tensor sampled = sample.to(at::kLong);

  RegionOutcome outcome;
  outcome.before = mean_loss(forward, region, data, sampled, recipe.loss);
  outcome.held_before = mean_loss(forward, region, data, held, recipe.loss);

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
      const at::Tensor y = forward_region(forward, region, data.inputs.index_select(0, windows));
      const at::Tensor loss = evaluate(recipe.loss, y, data.targets.index_select(0, windows), data.next_norm);
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
    const double loss = data.held_out > 0 ? mean_loss(forward, region, data, held, recipe.loss) : 0;
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
  outcome.after = mean_loss(forward, region, data, sampled, recipe.loss);
  return outcome;
}

}  // namespace freelunch::reconstruct
