#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <utility>

#include "freelunch/base/interrupt.h"
#include "freelunch/descent/distil.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/record/record_fields.h"

namespace freelunch::pipeline {
namespace {

constexpr int64_t kBatch = 4;

/// The dense model's stream after its last block, (windows, l, d) fp32.
model::ActivationStore dense_stream(const RunContext& run, const model::Forward& forward) {
  const model::WeightView dense = run.dense();
  const model::Config& config = run.model().config();
  model::ActivationStore x = run.embed(dense);
  run.sinks.progress.begin("dense targets", config.blocks, "blocks");
  for (int64_t b = 0; b < config.blocks; ++b) {
    const model::Block block = dense.block(b, run.compute.device, run.compute.dtype);
    for (int64_t i = 0; i < x.windows(); i += kBatch) {
      throw_if_interrupted();
      x.write(i, forward.forward_block(block, x.read(i, std::min(kBatch, x.windows() - i))));
    }
    run.sinks.progress.advance(b + 1, "");
  }
  run.sinks.progress.end();
  return x;
}

constexpr const char* kDenseHidden = "dense hidden states";

/// Keeps the place of a global stage in the run's journal.
class StagePlace final : public reconstruct::DistilPlace {
 public:
  explicit StagePlace(Journal& journal) : journal_(journal) {}
  bool due() const override { return journal_.due(); }
  void commit(const reconstruct::DistilPosition& at) override { journal_.commit_position(at); }
  std::optional<reconstruct::DistilPosition> last() const override {
    const auto at = journal_.position();
    return at ? std::optional(at->get<reconstruct::DistilPosition>()) : std::nullopt;
  }

 private:
  Journal& journal_;
};

}  // namespace

void save_dense_hidden(RunContext& run) {
  const at::NoGradGuard no_grad;
  const bool wanted = run.plan.model_stage.loss == reconstruct::TokenLoss::kKl &&
                      std::any_of(run.stages.begin(), run.stages.end(), is_global);
  std::optional<model::ActivationStore> x = std::exchange(run.dense_stream, std::nullopt);
  if (!wanted || run.dense_scratch.has(kDenseHidden)) return;
  const model::Forward forward(run.model().config(), run.compute, run.windows.size(1));
  if (!x) x = dense_stream(run, forward);
  // after the final norm, (windows, l, d) bf16: all that kl needs of the dense model
  const model::Norm norm = run.dense().final_norm(run.compute.device);
  at::Tensor hidden = at::empty({x->windows(), x->length(), x->width()},
                                at::TensorOptions().dtype(at::kBFloat16).device(run.compute.device));
  for (int64_t i = 0; i < x->windows(); ++i) {
    hidden.narrow(0, i, 1).copy_(norm(x->read(i, 1)));
  }
  run.dense_scratch.put(kDenseHidden, hidden);
}

void repair_model(RunContext& run, const Stage& stage) {
  const model::Config& config = run.model().config();
  const ModelStageOptions& options = run.plan.model_stage;
  const model::Forward forward(config, run.compute, run.windows.size(1));
  reconstruct::DistilRecipe recipe = distil_recipe(run, stage);
  recipe.keep_graph = reconstruct::fits_graph(run.model(), sparsity::zero_fraction(run.plan.pattern), recipe,
                                              run.windows.size(1));
  const auto start = std::chrono::steady_clock::now();
  save_dense_hidden(run);
  const reconstruct::DistilData data{
      .windows = run.windows,
      .dense_hidden = options.loss == reconstruct::TokenLoss::kKl
                          ? run.dense_scratch.get(kDenseHidden).to(run.compute.device)
                          : at::Tensor(),
      .held_out = run.held_out};
  RandomStream random(run.plan.seed, fmt::format("order of windows, stage {}", to_string(stage)));
  const auto mask_of = [&](const std::string& tensor) { return run.scratch.get(model::mask_name(tensor)); };
  StagePlace place(run.journal);
  const reconstruct::DistilOutcome outcome = reconstruct::distil(
      forward, run.current(), mask_of, data, recipe, run.scratch, random, place, run.sinks.progress);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  run.report.regions.push_back({.stage = to_string(stage),
                                .region = "model",
                                .outcome = {.before = outcome.before,
                                            .after = outcome.after,
                                            .held_out_before = outcome.before,
                                            .held_out_after = outcome.after,
                                            .improved = outcome.improved,
                                            .restarts = outcome.restarts,
                                            .learning_rate = std::ldexp(recipe.adam.learning_rate,
                                                                        -static_cast<int>(outcome.restarts))},
                                .seconds = seconds});
}

}  // namespace freelunch::pipeline
