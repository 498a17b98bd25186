#include "freelunch/descent/descent.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/descent/trainable_tensor.h"

namespace freelunch::reconstruct {
namespace {

/// The trained tensors of a region: leaves take their places until finish() or the end of its life puts the
/// fp32 tensors back.
class Trainer {
 public:
  Trainer(Region& region, const DescentRecipe& recipe)
      : adam_(recipe.adam), tensors_(region.trained(recipe.freeze_norms)) {
    for (const TrainedTensor& tensor : tensors_) {
      masters_.push_back(*tensor.place);
      states_.push_back(trainable("", *tensor.place, tensor.mask.retained, tensor.dtype, {}));
      *tensor.place = states_.back()->leaf();
    }
  }
  ~Trainer() {
    for (size_t i = 0; i < tensors_.size(); ++i) *tensors_[i].place = masters_[i];
  }
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// False if a gradient is not finite; the leaves are then void, and the masters as they were.
  bool step(double rate) {
    return std::all_of(states_.begin(), states_.end(),
                       [&](const auto& state) { return state->step(adam_, rate); });
  }

  /// The state as it stands becomes what finish() leaves in the masters.
  void save_state() {
    best_.clear();
    for (const auto& state : states_) best_.push_back(state->value());
  }

  /// Writes the state that was kept, if any, into the masters.
  void finish() {
    const at::NoGradGuard no_grad;
    for (size_t i = 0; i < best_.size(); ++i) masters_[i].copy_(best_[i]);
  }

 private:
  AdamSettings adam_;
  std::vector<TrainedTensor> tensors_;
  std::vector<at::Tensor> masters_, best_;
  std::vector<std::unique_ptr<TrainableTensor>> states_;
};

using Windows = std::vector<int64_t>;

double mean_loss(const Region& region, const RegionData& data, const Windows& windows, Loss loss) {
  if (windows.empty()) return 0;
  const at::NoGradGuard no_grad;
  const auto step = static_cast<size_t>(windows_at_a_time(data.inputs.length()));
  double sum = 0;
  region.with_cast_weights([&](const Region::Pass& pass) {
    for (size_t i = 0; i < windows.size(); i += step) {
      const auto part = std::span(windows).subspan(i, std::min(step, windows.size() - i));
      const at::Tensor y = pass(data.inputs.read(part)).to(at::kFloat);
      const at::Tensor t = data.targets.read(part).to(at::kFloat);
      sum += evaluate(loss, y, t, data.next_norm).item<double>() * static_cast<double>(part.size());
    }
  });
  return sum / static_cast<double>(windows.size());
}

/// The windows of each step of an epoch.
std::vector<Windows> batches(const Windows& order, int64_t batch) {
  std::vector<Windows> steps;
  for (size_t i = 0; i < order.size(); i += static_cast<size_t>(batch)) {
    const size_t end = std::min(i + static_cast<size_t>(batch), order.size());
    steps.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(i),
                       order.begin() + static_cast<std::ptrdiff_t>(end));
  }
  return steps;
}

struct Trained {
  bool improved = false;  ///< whether any state beat the loss on held-out windows at the start
  double best_loss = 0;   ///< on those
  std::string problem;    ///< what was not finite and where; the region is then as it was
};

/// All epochs; the best state goes into the region's tensors. best_loss: the loss on the windows `held` to
/// beat.
Trained train(Region& region, const RegionData& data, const Windows& held, const DescentRecipe& recipe,
              RandomStream& random, double best_loss) {
  Trainer trainer(region, recipe);
  const int64_t trained = data.inputs.windows() - data.held_out;
  bool improved = false;
  const int64_t steps_per_epoch = (trained + recipe.batch - 1) / recipe.batch;
  const int64_t steps = recipe.epochs * steps_per_epoch;
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < recipe.epochs; ++epoch) {
    const std::vector<Windows> epoch_batches = batches(random.permutation(trained), recipe.batch);
    for (size_t i = 0; i < epoch_batches.size(); ++i, ++step) {
      throw_if_interrupted();
      const at::Tensor x = data.inputs.read(epoch_batches[i]);
      const at::Tensor t = data.targets.read(epoch_batches[i]).to(at::kFloat);
      if (i + 1 < epoch_batches.size()) {
        data.inputs.prefetch(epoch_batches[i + 1]);
        data.targets.prefetch(epoch_batches[i + 1]);
      }
      const at::Tensor loss = evaluate(recipe.loss, region.forward(x).to(at::kFloat), t, data.next_norm);
      const bool finite_loss = std::isfinite(loss.item<double>());
      if (finite_loss) loss.backward();
      if (!finite_loss || !trainer.step(scheduled_rate(recipe.adam.learning_rate, step, steps))) {
        return {.problem = fmt::format("the {} is not finite at step {} of {}",
                                       finite_loss ? "gradient" : "loss", step + 1, steps)};
      }
    }
    // The rate has not come down before the last epoch, so only the end of the run and the start are
    // candidates worth an evaluation when there are few epochs.
    const bool last = epoch + 1 == recipe.epochs;
    if (!last && recipe.epochs <= 2) continue;
    const double loss = data.held_out > 0 ? mean_loss(region, data, held, recipe.loss) : 0;
    if (loss < best_loss) {
      best_loss = loss;
      improved = true;
      trainer.save_state();
    }
  }
  trainer.finish();
  return {.improved = improved, .best_loss = best_loss, .problem = ""};
}

}  // namespace

RegionOutcome descend(Region& region, const RegionData& data, const DescentRecipe& recipe,
                      RandomStream& random, const std::string& name) {
  const int64_t trained = data.inputs.windows() - data.held_out;
  Windows held(static_cast<size_t>(data.held_out));
  std::iota(held.begin(), held.end(), trained);
  Windows sampled(static_cast<size_t>(data.held_out > 0 ? std::min(data.held_out, trained) : trained));
  for (size_t i = 0; i < sampled.size(); ++i)
    sampled[i] = static_cast<int64_t>(i) * trained / static_cast<int64_t>(sampled.size());

  RegionOutcome outcome;
  outcome.before = mean_loss(region, data, sampled, recipe.loss);
  outcome.held_out_before = mean_loss(region, data, held, recipe.loss);

  if (!std::isfinite(outcome.before + outcome.held_out_before)) {
    fail(ErrorKind::kNumerical,
         "{}: the loss is not finite before step 1: an activation of the dense or of the pruned model is not",
         name);
  }
  const double to_beat =
      data.held_out > 0 ? outcome.held_out_before : std::numeric_limits<double>::infinity();
  DescentRecipe attempt = recipe;
  const RandomStream start = random;
  Trained best;
  for (;;) {
    random = start;  // the same windows in the same order
    best = train(region, data, held, attempt, random, to_beat);
    if (!best.problem.empty()) {
      if (outcome.restarts == recipe.restarts)
        fail(ErrorKind::kNumerical, "{}: {}; try `on-divergence` restart, or a learning rate below {}", name,
             best.problem, attempt.adam.learning_rate);
      ++outcome.restarts;
      attempt.adam.learning_rate /= 2;
    } else if (!best.improved && outcome.retries < recipe.retries) {
      ++outcome.retries;
      attempt.adam.learning_rate /= 4;
    } else {
      break;
    }
  }
  outcome.learning_rate = attempt.adam.learning_rate;
  outcome.improved = best.improved;
  outcome.held_out_after = data.held_out > 0 ? best.best_loss : 0;
  outcome.after = mean_loss(region, data, sampled, recipe.loss);
  if (!std::isfinite(outcome.after))
    fail(ErrorKind::kNumerical, "{}: the loss is not finite after the last step", name);
  return outcome;
}

}  // namespace freelunch::reconstruct
