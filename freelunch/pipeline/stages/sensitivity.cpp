#include "freelunch/pipeline/stages/sensitivity.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/descent/token_loss.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/pipeline/window_batches.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {
namespace {

using model::ActivationStore;
using model::Block;
using model::Sublayer;
using model::WeightRole;

using model::kLogitRows;

/// One token drawn from the model's own next-token distribution after each position: hidden (tokens, d) after
/// the final norm, -> (tokens) int64.
at::Tensor sampled_tokens(const at::Tensor& hidden, const model::Head& head, RandomStream& random) {
  at::Tensor tokens = at::empty({hidden.size(0)}, hidden.options().dtype(at::kLong));
  for (int64_t i = 0; i < hidden.size(0); i += kLogitRows) {
    const int64_t n = std::min(kLogitRows, hidden.size(0) - i);
    at::Tensor u = at::empty({n, 1}, at::kFloat);
    for (int64_t j = 0; j < n; ++j) u.mutable_data_ptr<float>()[j] = static_cast<float>(random.uniform());
    const at::Tensor logits = head.logits(hidden.narrow(0, i, n));
    const at::Tensor below = at::softmax(logits, -1, at::kFloat).cumsum(-1).lt(u.to(hidden.device()));
    tokens.narrow(0, i, n).copy_(below.sum(-1).clamp_max(head.vocabulary() - 1));
  }
  return tokens;
}

/// The forward pass. Writes every block's input, bf16, to disk and returns the stream after the last block.
ActivationStore forward_pass(RunContext& run, const model::Forward& forward, const at::Tensor& windows,
                             std::vector<ActivationStore>& inputs) {
  const at::NoGradGuard no_grad;
  ActivationStore x = run.empty_stream(windows.size(0));
  for_each_batch(x.windows(), 0, [&](int64_t i, int64_t n, bool) {
    x.write(i, run.unpruned().embed(windows.narrow(0, i, n), run.compute.device));
  });
  const model::ActivationSettings on_disk{.placement = model::ActivationPlacement::kDisk,
                                          .folder = run.activations.folder,
                                          .dtype = at::kBFloat16};
  for (int64_t b = 0; b < run.model().config().blocks; ++b) {
    const Block block = run.unpruned().block(b, run.compute.device, run.compute.dtype);
    inputs.emplace_back(on_disk, std::vector<int64_t>{x.windows(), x.length(), x.width()}, at::kFloat,
                        run.compute.device);
    for_each_batch(x.windows(), 0, [&](int64_t i, int64_t n, bool) {
      const at::Tensor input = x.read(i, n);
      inputs.back().write(i, input);
      x.write(i, forward.forward_block(block, input));
    });
    run.sinks.progress.advance(b + 1, "forward");
  }
  return x;
}

/// Replaces the last block's output by the gradient of the log-likelihood of a sampled continuation with
/// respect to it.
void to_final_gradient(RunContext& run, ActivationStore& x, RandomStream& random) {
  const model::Head head = run.unpruned().head(run.compute);
  const model::Norm norm = run.unpruned().final_norm(run.compute.device);
  for (int64_t i = 0; i < x.windows(); ++i) {
    throw_if_interrupted();
    at::Tensor window = x.read(i, 1).select(0, 0).clone().requires_grad_(true);  // (l, d)
    const at::Tensor hidden = norm(window);
    at::Tensor next;
    {
      const at::NoGradGuard no_grad;
      next = sampled_tokens(hidden.detach(), head, random);
    }
    const auto loss =
        reconstruct::token_loss(reconstruct::TokenLoss::kCe, hidden.detach(), {}, next, head, 1.0);
    hidden.backward(loss.gradient);
    x.write(i, window.grad().unsqueeze(0));
  }
}

/// The backward pass of one block: replaces the gradient with respect to its output, (windows, l, d), by that
/// with respect to its input. Writes G of each matrix to the dense scratch file.
void backward_block(RunContext& run, const model::Forward& forward, int64_t b, const ActivationStore& inputs,
                    ActivationStore& gradient) {
  Block block = run.unpruned().block(b, run.compute.device, run.compute.dtype);
  std::map<WeightRole, statistics::Gram> grams;
  for_each_batch(gradient.windows(), 0, [&](int64_t i, int64_t n, bool) {
    const at::Tensor x = inputs.read(i, n).detach().requires_grad_(true);
    std::vector<std::pair<WeightRole, at::Tensor>> outputs;
    const auto tap = [&](WeightRole role, const at::Tensor& y) {
      y.retain_grad();
      outputs.emplace_back(role, y);
    };
    const at::Tensor y = forward.forward_sublayer(
        block, Sublayer::kMlp, forward.forward_sublayer(block, Sublayer::kAttention, x, tap), tap);
    y.backward(gradient.read(i, n));
    const at::NoGradGuard no_grad;
    gradient.write(i, x.grad());
    for (const auto& [role, output] : outputs) {
      const auto it = grams.try_emplace(role, output.size(-1), run.compute.device).first;
      it->second.add(output.grad());
    }
  });
  for (const auto& [role, gram] : grams) {
    const std::string& tensor = run.model().find(b, role)->name;
    if (!std::isfinite(gram.diagonal().sum().item<double>()))
      fail(ErrorKind::kNumerical,
           "sensitivity: the gradient with respect to the outputs of '{}' is not finite", tensor);
    run.dense_scratch.put(sensitivity_name(tensor), gram.sum(at::kFloat));
  }
  for (const model::ModelTensor* tensor : run.model().block_tensors(b)) {  // experts that no token reached
    if (!model::is_prunable(*tensor->role) || grams.contains(*tensor->role)) continue;
    run.dense_scratch.put(sensitivity_name(tensor->name), at::eye(tensor->shape[0]));
  }
}

/// Whether an earlier run wrote all of it. The first block's part is written last.
bool is_measured(const RunContext& run) {
  const auto tensors = run.model().block_tensors(0);
  return std::all_of(tensors.begin(), tensors.end(), [&](const model::ModelTensor* tensor) {
    return !model::is_prunable(*tensor->role) || run.dense_scratch.has(sensitivity_name(tensor->name));
  });
}

}  // namespace

std::string sensitivity_name(const std::string& tensor) { return tensor + "#sensitivity"; }

void measure_sensitivity(RunContext& run) {
  if (is_measured(run)) return;
  const model::Config& config = run.model().config();
  const at::Tensor windows = run.windows.narrow(0, 0, run.windows.size(0) - run.held_out);
  const model::Forward forward(config, run.compute, windows.size(1));
  RandomStream random(run.plan.seed, "sampled continuations");
  run.sinks.progress.begin("sensitivity", 2 * config.blocks, "blocks");
  std::vector<ActivationStore> inputs;
  ActivationStore gradient = forward_pass(run, forward, windows, inputs);
  to_final_gradient(run, gradient, random);
  for (int64_t b = config.blocks; b-- > 0;) {
    backward_block(run, forward, b, inputs.back(), gradient);
    inputs.pop_back();
    release_freed_memory();
    run.sinks.progress.advance(2 * config.blocks - b, "backward");
  }
  run.sinks.progress.end();
}

/// weights: a block in the compute dtype. statistics: G of every matrix of a block, fp64. workspace: the
/// graph of one block for one batch, or the head and the logits to sample from, whichever is larger. disk:
/// every block's input, bf16. Operations: a forward pass, and a backward pass that computes the forward pass
/// again (1 + 1 + 2 = 4 forward passes); G of every matrix.
StageBudget sensitivity_budget(const CostModel& cost) {
  // Products with the head, 2 x head each, for a token: the logits to sample from, those of the loss, and
  // its gradient. The fourth allows for the softmax and the cumulative sum over the vocabulary; an estimate.
  constexpr double kHeadProducts = 4;
  // Operations of g g^T for a token, in out^2: 2, of which symmetry saves half; the squares on the diagonal
  // of the stored panels are computed whole (statistics/gram.h), a quarter more at usual widths.
  constexpr double kGramOperations = 1.25;
  // fp32 tensors of the stream's width that a block's graph keeps; its other tensors are counted twice in the
  // compute dtype, value and gradient.
  constexpr int64_t kStreamTensors = 8;

  StageBudget stage = cost.start("sensitivity");
  cost.add_residual_streams(stage, 1);
  const auto blocks = static_cast<double>(cost.config().blocks);
  const int64_t width = cost.config().width;
  stage.disk += cost.config().blocks * cost.trained_windows() * cost.length() * width * kBf16Bytes;
  stage.weights = cost.block_elements() * cost.compute_bytes();
  double products = 0;
  for (const model::ModelTensor* tensor : cost.model().block_tensors(0)) {
    if (!model::is_prunable(*tensor->role)) continue;
    stage.statistics += tensor->shape[0] * tensor->shape[0] * kFp64Bytes;
    products += static_cast<double>(tensor->shape[0] * tensor->shape[0]);
  }
  int64_t outputs = 0;
  for (const SublayerShape& sublayer : cost.sublayers())
    outputs += 3 * sublayer.outputs + 2 * sublayer.inner + width;
  const int64_t graph = kWindowsPerPass * cost.length() *
                        (kStreamTensors * width * kFp32Bytes + 2 * outputs * cost.compute_bytes());
  // logits in the compute dtype; their softmax, its cumulative sum and a comparison in fp32
  const int64_t sampling = kLogitRows * cost.config().vocabulary * (cost.compute_bytes() + 3 * kFp32Bytes);
  const int64_t head = cost.head_elements() * cost.compute_bytes();
  stage.workspace = std::max(graph, head + sampling - stage.weights - stage.statistics);
  const auto tokens = static_cast<double>(cost.trained_windows() * cost.length());
  cost.spend(stage,
             tokens * (blocks * 4 * cost.forward_block(cost.length()) +
                       kHeadProducts * 2 * static_cast<double>(cost.head_elements())),
             tokens * blocks * kGramOperations * products, 0);
  return stage;
}

}  // namespace freelunch::pipeline
