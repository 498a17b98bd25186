#include "reconstruct/distil.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/interrupt.h"
#include "reconstruct/trainable_block.h"

namespace freelunch::reconstruct {
namespace {

using model::Forward;

/// The whole model as it is trained.
class Student {
 public:
  Student(const Forward& forward, const model::Weights& weights, const MaskOf& mask_of,
          const TrainableSettings& settings)
      : forward_(forward),
        weights_(weights),
        head_(weights.head(forward.compute())),
        final_norm_(weights.final_norm(forward.compute().device)) {
    const auto train = [&](model::Part part, at::Tensor& tensor) {
      if (!tensor.defined()) return;
      const std::string& name = weights.dense().find(-1, part)->name;
      norm_.push_back(trainable(name, tensor, at::Tensor(), at::kFloat, settings));
      tensor = norm_.back()->leaf();
    };
    train(model::Part::kFinalNorm, final_norm_.weight);
    train(model::Part::kFinalNormBias, final_norm_.bias);
    for (int64_t i = 0; i < weights.config().blocks; ++i) {
      blocks_.emplace_back(weights, i, mask_of, forward.compute(), settings);
    }
  }

  /// Loss summed over the scored tokens of windows (n, l); dense (n, l, d) for kl. No gradients.
  TokenLossResult score(TokenLoss loss, const at::Tensor& windows, const at::Tensor& dense) const {
    const at::NoGradGuard no_grad;
    at::Tensor x = weights_.embed(windows, forward_.compute().device);
    for (const TrainableBlock& block : blocks_) x = forward_.block(block.block(), x);
    return loss_of(loss, final_norm_(x), windows, dense, 0);
  }

  /// One step on a batch of windows; returns the mean loss before it.
  double step(const DistilRecipe& recipe, const at::Tensor& windows, const at::Tensor& dense, double rate) {
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
    hidden.backward(result.gradient);
    for (const auto& tensor : norm_) tensor->step(recipe.adam, rate);
    at::Tensor gradient = x.grad();
    for (size_t i = blocks_.size(); i-- > 0;) {
      throw_if_interrupted();
      if (!recipe.keep_graph) passed[i] = pass(blocks_[i], passed[i].input.detach(), i > 0, /*graph=*/true);
      passed[i].output.backward(gradient);
      gradient = passed[i].input.grad();
      passed[i] = {};
      blocks_[i].step(recipe.adam, rate);
    }
    return result.sum / scored;
  }

  void save(model::TensorFile& store) {
    const auto put = [&](const TrainableTensor& tensor) {
      if (const at::Tensor value = tensor.value(); value.defined()) store.put(tensor.name(), value);
    };
    for (const auto& tensor : norm_) put(*tensor);
    for (const TrainableBlock& block : blocks_) {
      for (const auto& tensor : block.tensors()) put(*tensor);
    }
  }

 private:
  /// A block's input and output, with the graph between them or without.
  struct Passed {
    at::Tensor input, output;
  };
  Passed pass(const TrainableBlock& block, at::Tensor input, bool needs_gradient, bool graph) const {
    const at::AutoGradMode mode(graph);
    input.requires_grad_(graph && needs_gradient);
    at::Tensor output = forward_.block(block.block(), input);
    return {.input = std::move(input), .output = std::move(output)};
  }

  /// hidden (n, l, d): positions 0 to l-2 are scored; the gradient is zero at the last.
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
  const model::Weights& weights_;
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

}  // namespace

namespace {

/// What planned_bytes() adds up.
struct Budget {
  int64_t weights, behind, head, inputs, dense, block_graph, logits;
};

Budget budget_of(const model::LanguageModel& model, double sparsity, const DistilRecipe& recipe,
                 int64_t windows, int64_t length) {
  const model::Config& c = model.config();
  int64_t matrices = 0;
  for (const model::ModelTensor& tensor : model.tensors()) {
    if (tensor.part && model::is_matrix(*tensor.part)) matrices += tensor.shape[0] * tensor.shape[1];
  }
  const auto kept = static_cast<int64_t>(static_cast<double>(matrices) * (1 - sparsity));
  const int64_t tokens = recipe.batch * length;
  // kept entries have two moments and what bf16 leaves out of a master, and masks are bits; adapters and
  // norms are small, their base weights and masks are not
  const int64_t behind = recipe.trainable.trains == Trains::kKept   ? kept * 10 + matrices / 8
                         : recipe.trainable.trains == Trains::kLora ? matrices * 5
                                                                    : 0;
  return {.weights = matrices * 2,
          .behind = behind,
          .head = c.vocabulary * c.width * 2,
          .inputs = c.blocks * tokens * c.width * 4,
          .dense = windows * length * c.width * 2,
          // the stream three times in fp32, six bf16 tensors of its width and three of the MLP's
          .block_graph = tokens * (12 * c.width + 12 * c.width + 6 * c.intermediate),
          .logits = 2 * 256 * c.vocabulary * 2};
}

}  // namespace

DistilOutcome distil(const Forward& forward, const model::Weights& weights, const MaskOf& mask_of,
                     const DistilData& data, const DistilRecipe& recipe, model::TensorFile& store,
                     RandomStream& random, ProgressSink& progress) {
  Student student(forward, weights, mask_of, recipe.trainable);
  DistilOutcome outcome;
  outcome.before = mean_loss(student, data, recipe.loss);
  outcome.after = outcome.before;
  outcome.kept = false;
  const int64_t trained = data.windows.size(0) - data.held_out;
  const int64_t steps = recipe.epochs * ((trained + recipe.batch - 1) / recipe.batch);
  progress.begin("model", steps, "steps");
  int64_t step = 0;
  for (int64_t epoch = 0; epoch < recipe.epochs; ++epoch) {
    const at::Tensor order = at::tensor(random.permutation(trained));
    for (int64_t i = 0; i < trained; i += recipe.batch) {
      const at::Tensor index = order.narrow(0, i, std::min(recipe.batch, trained - i));
      const double loss =
          student.step(recipe, rows_of(data.windows, index), rows_of(data.dense_hidden, index),
                       scheduled_rate(recipe.adam.learning_rate, step, steps));
      if (!std::isfinite(loss)) {
        fail(ErrorKind::kNumerical,
             "model: the loss is not finite at step {} of {}; try a lower learning rate than {}", step + 1,
             steps, recipe.adam.learning_rate);
      }
      progress.advance(++step, fmt::format("{} {:.4f}", name(recipe.loss), loss));
    }
    const double loss = mean_loss(student, data, recipe.loss);
    if (loss < outcome.after) {
      outcome.after = loss;
      outcome.kept = true;
      student.save(store);
    }
  }
  progress.end();
  return outcome;
}

bool fits_graph(const model::LanguageModel& model, double sparsity, const DistilRecipe& recipe,
                int64_t length) {
  const Budget b = budget_of(model, sparsity, recipe, 0, length);
  return 2 * b.block_graph * model.config().blocks <= b.weights + b.behind;
}

int64_t planned_bytes(const model::LanguageModel& model, double sparsity, const DistilRecipe& recipe,
                      int64_t windows, int64_t length) {
  const Budget b = budget_of(model, sparsity, recipe, windows, length);
  const int64_t graph = fits_graph(model, sparsity, recipe, length) ? model.config().blocks : 2;
  constexpr int64_t kRuntime = 300LL << 20U;  // LibTorch's own code and pools
  return b.weights + b.behind + b.head + b.inputs + b.dense + graph * b.block_graph + b.logits + kRuntime;
}

}  // namespace freelunch::reconstruct
