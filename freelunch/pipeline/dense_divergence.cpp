#include "freelunch/pipeline/dense_divergence.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/descent/token_loss.h"
#include "freelunch/evaluate/final_stream.h"
#include "freelunch/memory/process_memory.h"

namespace freelunch::pipeline {
namespace {

constexpr const char* kDenseHidden = "dense hidden states, held-out windows";

/// Takes the held-out windows through `weights`, as many at a time as evaluate::kStreamBytes holds:
/// visit(first, hidden) gets the states after the final norm, (n, l, d) fp32, of held-out windows first to
/// first + n - 1.
void for_each_hidden(const RunContext& run, const model::WeightView& weights,
                     const std::function<void(int64_t, const at::Tensor&)>& visit) {
  const model::Forward forward(weights.config(), run.compute, run.windows.size(1));
  const at::Tensor windows = run.windows.narrow(0, run.windows.size(0) - run.held_out, run.held_out);
  const int64_t blocks = forward.config().blocks;
  const int64_t together = evaluate::windows_together(windows.size(1), forward.config().width);
  const int64_t parts = (run.held_out + together - 1) / together;
  run.sinks.progress.begin("compare with dense", parts * blocks, "blocks");
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t first = part * together;
    const at::Tensor x = evaluate::final_stream(
        weights, windows.narrow(0, first, std::min(together, run.held_out - first)), forward,
        [&](int64_t finished) { run.sinks.progress.advance(part * blocks + finished, ""); });
    const model::Norm norm = weights.final_norm(run.compute.device);
    // window by window, as a whole-model stage does
    for (int64_t i = 0; i < x.size(0); ++i) visit(first + i, norm(x.narrow(0, i, 1)));
  }
  run.sinks.progress.end();
}

}  // namespace

at::Tensor dense_hidden_of_held_out(RunContext& run) {
  if (run.dense_scratch.has(kDenseHidden)) return run.dense_scratch.get(kDenseHidden);
  const at::NoGradGuard no_grad;
  at::Tensor all = at::empty({run.held_out, run.windows.size(1), run.model().config().width},
                             at::TensorOptions().dtype(at::kBFloat16));
  for_each_hidden(run, run.dense(),
                  [&](int64_t i, const at::Tensor& hidden) { all.narrow(0, i, 1).copy_(hidden); });
  run.dense_scratch.put(kDenseHidden, all);
  return all;
}

double mean_divergence(const at::Tensor& ours, const at::Tensor& dense, const model::Head& head) {
  const reconstruct::TokenLossResult result =
      reconstruct::token_loss(reconstruct::TokenLoss::kKl, ours, dense, {}, head, 0);
  return result.sum / static_cast<double>(result.tokens);
}

double dense_divergence(RunContext& run, const model::WeightView& weights) {
  const at::NoGradGuard no_grad;
  release_freed_memory();  // what the stage left
  const at::Tensor dense = dense_hidden_of_held_out(run);
  const int64_t scored = run.windows.size(1) - 1;
  const auto rows = [&](const at::Tensor& hidden) { return hidden.narrow(1, 0, scored).flatten(0, 1); };
  std::optional<model::Head> head;  // read after the blocks: they do not have to fit next to it
  double sum = 0;
  int64_t tokens = 0;
  for_each_hidden(run, weights, [&](int64_t i, const at::Tensor& hidden) {
    if (!head) head.emplace(weights.head(run.compute));
    const reconstruct::TokenLossResult result =
        reconstruct::token_loss(reconstruct::TokenLoss::kKl, rows(hidden),
                                rows(dense.narrow(0, i, 1).to(run.compute.device)), {}, *head, 0);
    sum += result.sum;
    tokens += result.tokens;
  });
  return sum / static_cast<double>(tokens);
}

}  // namespace freelunch::pipeline
