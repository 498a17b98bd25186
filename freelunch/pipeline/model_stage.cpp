#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/interrupt.h"
#include "pipeline/compression.h"
#include "reconstruct/distil.h"

namespace freelunch::pipeline {
namespace {

constexpr int64_t kBatch = 4;

/// The dense model's stream after its last block, (windows, l, d) fp32.
model::ActivationStore dense_stream(const Compression& run, const model::Forward& forward) {
  const model::Weights dense = run.dense();
  const model::Config& config = run.model().config();
  model::ActivationStore x = run.embed(dense);
  run.sinks.progress.begin("dense targets", config.blocks, "blocks");
  for (int64_t b = 0; b < config.blocks; ++b) {
    const model::Block block = dense.block(b, run.compute.device, run.compute.dtype);
    for (int64_t i = 0; i < x.windows(); i += kBatch) {
      throw_if_interrupted();
      x.write(i, forward.block(block, x.read(i, std::min(kBatch, x.windows() - i))));
    }
    run.sinks.progress.advance(b + 1, "");
  }
  run.sinks.progress.end();
  return x;
}

/// Its hidden states after the final norm, (windows, l, d) bf16: all that kl needs of the dense model.
at::Tensor dense_hidden(Compression& run, const model::Forward& forward) {
  const at::NoGradGuard no_grad;
  constexpr const char* kName = "dense hidden states";
  if (run.dense_store.has(kName)) return run.dense_store.get(kName).to(run.compute.device);
  const model::ActivationStore x =
      run.dense_stream ? *std::exchange(run.dense_stream, std::nullopt) : dense_stream(run, forward);
  const model::Norm norm = run.dense().final_norm(run.compute.device);
  at::Tensor hidden = at::empty({x.windows(), x.length(), x.width()},
                                at::TensorOptions().dtype(at::kBFloat16).device(run.compute.device));
  for (int64_t i = 0; i < x.windows(); ++i) {
    hidden.narrow(0, i, 1).copy_(norm(x.read(i, 1)));
  }
  if (&run.dense_store != &run.store) run.dense_store.put(kName, hidden);
  return hidden;
}

}  // namespace

void repair_model(Compression& run, const Stage& stage) {
  const model::Config& config = run.model().config();
  const ModelStageOptions& options = run.plan.whole;
  const model::Forward forward(config, run.compute, run.windows.size(1));
  reconstruct::DistilRecipe recipe = distil_recipe(run, stage);
  recipe.keep_graph = reconstruct::fits_graph(run.model(), sparsity::zero_fraction(run.plan.pattern), recipe,
                                              run.windows.size(1));
  const auto start = std::chrono::steady_clock::now();
  const reconstruct::DistilData data{
      .windows = run.windows,
      .dense_hidden = options.loss == reconstruct::TokenLoss::kKl ? dense_hidden(run, forward) : at::Tensor(),
      .held_out = run.held_out};
  RandomStream random(run.plan.seed, fmt::format("order of windows, stage {}", to_string(stage)));
  const auto mask_of = [&](const std::string& tensor) { return run.store.get(model::mask_name(tensor)); };
  const reconstruct::DistilOutcome outcome = reconstruct::distil(
      forward, run.current(), mask_of, data, recipe, run.store, random, run.sinks.progress);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  run.report.regions.push_back({.stage = to_string(stage),
                                .region = "model",
                                .outcome = {.before = outcome.before,
                                            .after = outcome.after,
                                            .held_before = outcome.before,
                                            .held_after = outcome.after,
                                            .kept = outcome.kept},
                                .seconds = seconds});
}

}  // namespace freelunch::pipeline
