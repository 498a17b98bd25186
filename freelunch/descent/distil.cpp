#include "freelunch/descent/distil.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/descent/divergence.h"
#include "freelunch/descent/make_trainable.h"
#include "freelunch/descent/trainable_block.h"

namespace freelunch::reconstruct {
namespace {

using model::Forward;

// Prefixes of names in the scratch file: the best state so far, and the current state of training.
const std::string kBest = "best ";
const std::string kState = "trained ";

/// The whole model during training.
class Student {
 public:
  Student(const DistilModel& model, const TrainableSettings& settings)
      : forward_(model.forward),
        weights_(model.weights),
        head_(weights_.head(forward_.compute())),
        final_norm_(weights_.final_norm(forward_.compute().device)) {
    const auto train = [&](model::WeightRole role, at::Tensor& tensor) {
      if (!tensor.defined()) return;
      const std::string& name = weights_.dense().find(-1, role)->name;
      norm_.push_back(trainable(name, tensor, at::Tensor(), at::kFloat, settings));
      tensor = norm_.back()->leaf();
    };
    train(model::WeightRole::kFinalNorm, final_norm_.weight);
    train(model::WeightRole::kFinalNormBias, final_norm_.bias);
    for (int64_t i = 0; i < weights_.config().blocks; ++i) {
      blocks_.emplace_back(weights_, i, model.mask_of, forward_.compute(), settings);
    }
  }

  /// The loss summed over the scored tokens of windows (n, l), without gradients. dense (n, l, d): the dense
  /// model's hidden states for kKl.
  TokenLossResult score(TokenLoss loss, const at::Tensor& windows, const at::Tensor& dense) const {
    const at::NoGradGuard no_grad;
    at::Tensor x = weights_.embed(windows, forward_.compute().device);
    for (const TrainableBlock& block : blocks_) x = forward_.forward_block(block.block(), x);
    return loss_of(loss, final_norm_(x), windows, dense, 0);
  }

  struct StepResult {
    double loss = 0;  ///< mean per token, before the step
    std::string
        not_finite;  ///< "the loss" or a gradient; the model is then unusable. Empty if all was finite
  };
  /// One training step on a batch of windows (n, l).
  StepResult step(const DistilRecipe& recipe, const at::Tensor& windows, const at::Tensor& dense,
                  double rate) {
    std::vector<Passed> passed(blocks_.size());
    at::Tensor x = weights_.embed(windows, forward_.compute().device);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      passed[i] = pass(blocks_[i], x, /*needs_gradient=*/i > 0, recipe.keep_graph);
      x = passed[i].output.detach();
    }
    x.requires_grad_(true);
    const at::Tensor hidden = final_norm_(x);
    const auto scored = static_cast<double>(windows.size(0) * (windows.size(1) - 1));
    const TokenLossResult result = loss_of(recipe.loss, hidden.detach(), windows, dense, scored);
    const double loss = result.sum / scored;
    if (!std::isfinite(loss)) return {.loss = loss, .not_finite = "the loss"};
    hidden.backward(result.gradient);
    for (const auto& tensor : norm_) {
      if (!tensor->step(recipe.adam, rate)) return {.loss = loss, .not_finite = gradient_of(tensor->name())};
    }
    at::Tensor gradient = x.grad();
    for (size_t i = blocks_.size(); i-- > 0;) {
      if (!recipe.keep_graph) passed[i] = pass(blocks_[i], passed[i].input.detach(), i > 0, /*graph=*/true);
      passed[i].output.backward(gradient);
      gradient = passed[i].input.grad();
      passed[i] = {};
      const std::string tensor = blocks_[i].step(recipe.adam, rate);
      if (!tensor.empty()) return {.loss = loss, .not_finite = gradient_of(tensor)};
    }
    return {.loss = loss, .not_finite = ""};
  }

  /// Saves the current weights as the best ones.
  void put_best(model::TensorFile& scratch) const {
    for_each([&](TrainableTensor& tensor) {
      if (const at::Tensor value = tensor.value(); value.defined()) scratch.put(kBest + tensor.name(), value);
    });
  }
  /// Saves and restores the state of training.
  void put_state(model::TensorFile& scratch) const {
    for_each([&](TrainableTensor& tensor) { tensor.put_state(scratch, kState + tensor.name()); });
  }
  void take_state(const model::TensorFile& scratch) {
    for_each([&](TrainableTensor& tensor) { tensor.take_state(scratch, kState + tensor.name()); });
  }

 private:
  static std::string gradient_of(const std::string& tensor) { return "the gradient of '" + tensor + "'"; }

  void for_each(const std::function<void(TrainableTensor&)>& visit) const {
    for (const auto& tensor : norm_) visit(*tensor);
    for (const TrainableBlock& block : blocks_) {
      for (const auto& tensor : block.tensors()) visit(*tensor);
    }
  }

  /// A block's input and output, with or without the autograd graph between them.
  struct Passed {
    at::Tensor input, output;
  };
  Passed pass(const TrainableBlock& block, at::Tensor input, bool needs_gradient, bool graph) const {
    const at::AutoGradMode mode(graph);
    input.requires_grad_(graph && needs_gradient);
    at::Tensor output = forward_.forward_block(block.block(), input);
    return {.input = std::move(input), .output = std::move(output)};
  }

  /// hidden (n, l, d). Positions 0 .. l - 2 are scored; the gradient of the last position is zero.
  TokenLossResult loss_of(TokenLoss loss, const at::Tensor& hidden, const at::Tensor& windows,
                          const at::Tensor& dense, double divisor) const {
    const int64_t l = windows.size(1);
    const auto scored = [l](const at::Tensor& t) { return t.narrow(1, 0, l - 1).flatten(0, 1); };
    const at::Device device = forward_.compute().device;
    const at::Tensor next = windows.narrow(1, 1, l - 1).flatten().to(device);
    TokenLossResult result = token_loss(loss, scored(hidden), dense.defined() ? scored(dense) : at::Tensor(),
                                        next, head_, divisor);
    if (divisor != 0) {
      at::Tensor gradient = at::zeros_like(hidden);
      gradient.narrow(1, 0, l - 1).copy_(result.gradient.view({hidden.size(0), l - 1, hidden.size(2)}));
      result.gradient = gradient;
    }
    return result;
  }

  const Forward& forward_;
  const model::WeightView& weights_;
  model::Head head_;
  model::Norm final_norm_;
  std::vector<std::unique_ptr<TrainableTensor>> norm_;
  std::vector<TrainableBlock> blocks_;
};

at::Tensor rows_of(const at::Tensor& t, const at::Tensor& index) {
  return t.defined() ? t.index_select(0, index.to(t.device())) : at::Tensor();
}

double mean_loss(const Student& student, const DistilData& data, TokenLoss loss) {
  const int64_t n = data.windows.size(0);
  const int64_t first = data.held_out > 0 ? n - data.held_out : 0;
  double sum = 0;
  int64_t tokens = 0;
  for (int64_t i = first; i < n; ++i) {
    throw_if_interrupted();
    const at::Tensor index = at::full({1}, i, at::kLong);
    const TokenLossResult result =
        student.score(loss, rows_of(data.windows, index), rows_of(data.dense_hidden, index));
    sum += result.sum;
    tokens += result.tokens;
  }
  return sum / static_cast<double>(tokens);
}

/// The training loop.
class Distillation {
 public:
  Distillation(Student& student, const DistilData& data, const DistilRecipe& recipe,
               model::TensorFile& scratch)
      : student_(student),
        data_(data),
        recipe_(recipe),
        scratch_(scratch),
        trained_(data.windows.size(0) - data.held_out),
        steps_per_epoch_((trained_ + recipe.batch - 1) / recipe.batch) {}

  int64_t steps() const { return recipe_.epochs * steps_per_epoch_; }

  /// Trains from `at` to the end. Returns what was not finite, if anything.
  std::optional<Divergence> run(DistilPosition& at, DistilPlace& place, ProgressSink& progress) {
    at::Tensor order;
    while (at.step < steps()) {
      const int64_t epoch = at.step / steps_per_epoch_;
      const int64_t first = at.step % steps_per_epoch_ * recipe_.batch;
      if (first == 0 || !order.defined()) order = order_of(epoch);
      const at::Tensor index = order.narrow(0, first, std::min(recipe_.batch, trained_ - first));
      const Student::StepResult result =
          student_.step(recipe_, rows_of(data_.windows, index), rows_of(data_.dense_hidden, index),
                        scheduled_rate(at.learning_rate, at.step, steps()));
      if (!result.not_finite.empty())
        return Divergence{.what = result.not_finite, .step = at.step + 1, .steps = steps()};
      progress.advance(++at.step, fmt::format("{} {:.4f}", name(recipe_.loss), result.loss));
      if (at.step % steps_per_epoch_ == 0) end_epoch(at);
      if (place.due()) {
        student_.put_state(scratch_);
        place.commit(at);
      }
      throw_if_interrupted();
    }
    return std::nullopt;
  }

 private:
  void end_epoch(DistilPosition& at) {
    const double loss = mean_loss(student_, data_, recipe_.loss);
    if (!(loss < at.after)) return;
    at.after = loss;
    at.improved = true;
    student_.put_best(scratch_);
  }

  /// Draws from the start of the stream each time: a resumed run needs only the number of the epoch.
  at::Tensor order_of(int64_t epoch) const {
    RandomStream random = data_.order;
    for (int64_t i = 0; i < epoch; ++i) random.permutation(trained_);
    return at::tensor(random.permutation(trained_));
  }

  Student& student_;
  const DistilData& data_;
  const DistilRecipe& recipe_;
  model::TensorFile& scratch_;
  int64_t trained_, steps_per_epoch_;
};

void erase_all(model::TensorFile& scratch, const std::string& prefix) {
  for (const std::string& tensor : scratch.names(prefix)) scratch.erase(tensor);
}

}  // namespace

DistilOutcome distil(const DistilModel& model, const DistilData& data, const DistilRecipe& recipe,
                     DistilPlace& place, ProgressSink& progress) {
  model::TensorFile& scratch = model.scratch;
  std::optional<Student> student;
  student.emplace(model, recipe.trainable);
  DistilPosition at{.learning_rate = recipe.adam.learning_rate};
  if (const auto last = place.last()) {
    at = *last;
    student->take_state(scratch);
  } else {
    at.before = at.after = mean_loss(*student, data, recipe.loss);
    if (!std::isfinite(at.before))
      fail(ErrorKind::kNumerical,
           "model: the loss is not finite before step 1, because an activation is not finite");
  }
  Distillation distillation(*student, data, recipe, scratch);
  progress.begin("model", distillation.steps(), "steps");
  while (true) {
    const std::optional<Divergence> divergence = distillation.run(at, place, progress);
    if (!divergence) break;
    if (at.restarts == recipe.restarts)
      fail(ErrorKind::kNumerical, "model: {}; try `on-divergence` restart, or a learning rate below {}",
           divergence->text(), at.learning_rate);
    at = {.learning_rate = at.learning_rate / 2,
          .restarts = at.restarts + 1,
          .before = at.before,
          .after = at.before};
    erase_all(scratch, kBest);
    student.reset();  // first: two would not fit into memory
    student.emplace(model, recipe.trainable);
  }
  progress.end();
  for (const std::string& best : scratch.names(kBest)) {
    const std::string tensor = best.substr(kBest.size());
    if (model.before_change) model.before_change(tensor);
    scratch.rename(best, tensor);
  }
  erase_all(scratch, kState);
  return {.before = at.before, .after = at.after, .improved = at.improved, .restarts = at.restarts};
}

}  // namespace freelunch::reconstruct
