#include "freelunch/descent/descent.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <span>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/descent/divergence.h"
#include "freelunch/descent/make_trainable.h"

namespace freelunch::reconstruct {
namespace {

/// The tensors of a region that are trained. Their leaves replace them in the region until the destructor
/// puts the fp32 masters back.
class Trainer {
 public:
  Trainer(Region& region, const DescentRecipe& recipe)
      : adam_(recipe.adam), tensors_(region.trained(recipe.freeze_norms)) {
    for (const TrainedTensor& tensor : tensors_) {
      masters_.push_back(*tensor.place);
      states_.push_back(
          trainable("", *tensor.place, tensor.mask.retained, tensor.dtype, {.rate_unit = recipe.rate_unit}));
      *tensor.place = states_.back()->leaf();
    }
  }
  ~Trainer() {
    for (size_t i = 0; i < tensors_.size(); ++i) *tensors_[i].place = masters_[i];
  }
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Returns false if a gradient is not finite. The leaves are then unusable; the masters have not changed.
  bool step(double rate) {
    return std::all_of(states_.begin(), states_.end(),
                       [&](const auto& state) { return state->step(adam_, rate); });
  }

  /// Remembers the current state for finish().
  void save_state() {
    best_.clear();
    for (const auto& state : states_) best_.push_back(state->value());
  }

  /// Copies the remembered state, if any, to the masters.
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
      sum += evaluate(loss, y, t, data.next).item<double>() * static_cast<double>(part.size());
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

/// The result of training with one learning rate.
struct Attempt {
  bool improved = false;                                ///< a state beat the loss to beat on held-out windows
  double best_loss = 0;                                 ///< the best loss on held-out windows
  std::optional<Divergence> divergence = std::nullopt;  ///< if there is one, the region has not changed
};

/// The descent of one region.
class Descent {
 public:
  Descent(Region& region, const RegionData& data, const DescentRecipe& recipe)
      : region_(region),
        data_(data),
        recipe_(recipe),
        trained_(data.inputs.windows() - data.held_out),
        steps_per_epoch_((trained_ + recipe.batch - 1) / recipe.batch),
        held_out_(static_cast<size_t>(data.held_out)),
        sampled_(static_cast<size_t>(data.held_out > 0 ? std::min(data.held_out, trained_) : trained_)) {
    std::iota(held_out_.begin(), held_out_.end(), trained_);
    for (size_t i = 0; i < sampled_.size(); ++i)
      sampled_[i] = static_cast<int64_t>(i) * trained_ / static_cast<int64_t>(sampled_.size());
  }

  double calibration_loss() const { return mean_loss(region_, data_, sampled_, recipe_.loss); }
  double held_out_loss() const { return mean_loss(region_, data_, held_out_, recipe_.loss); }

  /// Trains all epochs. The best state goes to the region's tensors if its loss is below `to_beat`.
  Attempt train(double peak_rate, double to_beat, RandomStream& random) {
    Trainer trainer(region_, recipe_);
    Attempt attempt{.best_loss = to_beat};
    for (int64_t epoch = 0; epoch < recipe_.epochs; ++epoch) {
      if (auto divergence = train_epoch(trainer, peak_rate, epoch, random))
        return {.divergence = std::move(divergence)};
      // Before the last epoch the rate is still high. With few epochs only the end of training is worth an
      // evaluation.
      const bool last = epoch + 1 == recipe_.epochs;
      if (!last && recipe_.epochs <= 2) continue;
      const double loss = data_.held_out > 0 ? held_out_loss() : 0;
      if (loss < attempt.best_loss) {
        attempt.best_loss = loss;
        attempt.improved = true;
        trainer.save_state();
      }
    }
    trainer.finish();
    return attempt;
  }

 private:
  std::optional<Divergence> train_epoch(Trainer& trainer, double peak_rate, int64_t epoch,
                                        RandomStream& random) {
    const std::vector<Windows> steps_of_epoch = batches(random.permutation(trained_), recipe_.batch);
    const int64_t steps = recipe_.epochs * steps_per_epoch_;
    for (size_t i = 0; i < steps_of_epoch.size(); ++i) {
      throw_if_interrupted();
      const int64_t step = epoch * steps_per_epoch_ + static_cast<int64_t>(i);
      const at::Tensor x = data_.inputs.read(steps_of_epoch[i]);
      const at::Tensor t = data_.targets.read(steps_of_epoch[i]).to(at::kFloat);
      if (i + 1 < steps_of_epoch.size()) {
        data_.inputs.prefetch(steps_of_epoch[i + 1]);
        data_.targets.prefetch(steps_of_epoch[i + 1]);
      }
      const at::Tensor loss = evaluate(recipe_.loss, region_.forward(x).to(at::kFloat), t, data_.next);
      if (!std::isfinite(loss.item<double>()))
        return Divergence{.what = "the loss", .step = step + 1, .steps = steps};
      loss.backward();
      if (!trainer.step(scheduled_rate(peak_rate, step, steps)))
        return Divergence{.what = "the gradient", .step = step + 1, .steps = steps};
    }
    return std::nullopt;
  }

  Region& region_;
  const RegionData& data_;
  const DescentRecipe& recipe_;
  int64_t trained_, steps_per_epoch_;  // windows that are trained on; steps in an epoch
  Windows held_out_, sampled_;
};

}  // namespace

RegionOutcome descend(Region& region, const RegionData& data, const DescentRecipe& recipe,
                      RandomStream& random, const std::string& name) {
  Descent descent(region, data, recipe);
  RegionOutcome outcome;
  outcome.before = descent.calibration_loss();
  outcome.held_out_before = descent.held_out_loss();
  if (!std::isfinite(outcome.before + outcome.held_out_before)) {
    fail(ErrorKind::kNumerical,
         "{}: the loss is not finite before step 1, because an activation of the dense or of the pruned "
         "model is "
         "not finite",
         name);
  }
  const double to_beat =
      data.held_out > 0 ? outcome.held_out_before : std::numeric_limits<double>::infinity();
  const RandomStream start = random;
  double rate = recipe.adam.learning_rate;
  Attempt attempt;
  for (;;) {
    random = start;  // each attempt sees the same windows in the same order
    attempt = descent.train(rate, to_beat, random);
    if (attempt.divergence) {
      if (outcome.restarts == recipe.restarts)
        fail(ErrorKind::kNumerical, "{}: {}; try `on-divergence` restart, or a learning rate below {}", name,
             attempt.divergence->text(), rate);
      ++outcome.restarts;
      rate /= 2;
    } else if (!attempt.improved && outcome.retries < recipe.retries) {
      ++outcome.retries;
      rate /= 4;
    } else {
      break;
    }
  }
  outcome.learning_rate = rate;
  outcome.improved = attempt.improved;
  outcome.held_out_after = data.held_out > 0 ? attempt.best_loss : 0;
  outcome.after = descent.calibration_loss();
  if (!std::isfinite(outcome.after))
    fail(ErrorKind::kNumerical, "{}: the loss is not finite after the last step", name);
  return outcome;
}

}  // namespace freelunch::reconstruct
