#include "freelunch/pipeline/stages/whole_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "freelunch/backend/backend.h"
#include "freelunch/base/stopwatch.h"
#include "freelunch/descent/distil.h"
#include "freelunch/model/layout.h"
#include "freelunch/pipeline/dense_divergence.h"
#include "freelunch/pipeline/stages/region_descent.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/pipeline/window_batches.h"
#include "freelunch/record/record_fields.h"

namespace freelunch::pipeline {
namespace {

using model::kLogitRows;
using reconstruct::Trains;

constexpr const char* kDenseHidden = "dense hidden states";

/// The dense model's stream after its last block, (windows, l, d) fp32.
model::ActivationStore dense_stream(const RunContext& run) {
  const model::WeightView dense = run.dense();
  const model::Config& config = dense.config();
  const model::Forward forward(config, run.compute, run.windows.size(1));
  model::ActivationStore x = run.embed(dense);
  run.sinks.progress.begin("dense targets", config.blocks, "blocks");
  for (int64_t b = 0; b < config.blocks; ++b) {
    const model::Block block = dense.block(b, run.compute.device, run.compute.dtype);
    for_each_batch(x.windows(), 0, [&](int64_t i, int64_t n, bool) {
      x.write(i, forward.forward_block(block, x.read(i, n)));
    });
    run.sinks.progress.advance(b + 1, "");
  }
  run.sinks.progress.end();
  return x;
}

/// Keeps the position of a whole-model stage in the run's journal.
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

reconstruct::DistilRecipe distil_recipe(const RunContext& run, const Stage& stage) {
  const ModelStageOptions& options = run.plan.model_stage;
  const PeakRate peak = peak_rate(run.plan, stage);
  return {.loss = options.loss,
          .adam = {.learning_rate = peak.rate},
          .epochs = options.epochs.value_or(default_epochs(run.stages)),
          .batch = options.batch,
          .restarts = restarts(run.plan),
          .trainable = {.trains = trained_by(stage),
                        .lora = options.lora,
                        .seed = run.plan.seed,
                        .rate_unit = peak.unit},
          .keep_graph = keeps_all_graphs(run.model().config(), run.plan, stage)};
}

/// Bytes that descent::distil holds, part by part.
struct WholeModelBytes {
  int64_t weights;      ///< matrices in bf16
  int64_t optimiser;    ///< of what is trained
  int64_t head;         ///< bf16
  int64_t inputs;       ///< of every block, one batch, fp32
  int64_t dense;        ///< the dense model's final hidden states, bf16
  int64_t block_graph;  ///< autograd graph of one block for one batch
  int64_t logits;       ///< two bf16 matrices: the model's and the dense model's

  int64_t total(int64_t graphs) const {
    return weights + optimiser + head + inputs + dense + graphs * block_graph + logits;
  }
};

/// Bytes behind the trained numbers. Of a retained weight: two fp32 moments, the 16 bits that complete its
/// fp32 master, and a bit of mask a weight. Adapters are small, but their base weights stay in fp32 with a
/// mask of bytes. Biases and norms are small.
int64_t optimiser_bytes(Trains trains, int64_t matrices, double density) {
  const auto retained = static_cast<int64_t>(static_cast<double>(matrices) * density);
  switch (trains) {
    case Trains::kRetained:
      return retained * (2 * kFp32Bytes + kBf16Bytes) + matrices / 8;
    case Trains::kLora:
      return matrices * (kFp32Bytes + 1);
    default:
      return 0;
  }
}

/// For `windows` windows of the plan's length.
WholeModelBytes whole_model_bytes(const model::Config& c, const CompressPlan& plan, Trains trains,
                                  int64_t windows) {
  int64_t matrices = 0;
  for (int64_t b = 0; b < c.blocks; ++b) {
    for (const model::WeightRole role : model::block_roles(c, b)) {
      if (model::is_prunable(role)) matrices += c10::multiply_integers(model::shape_of(c, b, role));
    }
  }
  const int64_t length = plan.calibration.length;
  const int64_t tokens = plan.model_stage.batch * length;
  return {.weights = matrices * kBf16Bytes,
          .optimiser = optimiser_bytes(trains, matrices, 1 - sparsity::zero_fraction(pattern_of(plan))),
          .head = c.vocabulary * c.width * kBf16Bytes,
          .inputs = c.blocks * tokens * c.width * kFp32Bytes,
          .dense = windows * length * c.width * kBf16Bytes,
          // the stream three times in fp32, six bf16 tensors of its width and three of the MLP's
          .block_graph = tokens * (3 * kFp32Bytes * c.width + 6 * kBf16Bytes * c.width +
                                   3 * kBf16Bytes * c.intermediate),
          .logits = 2 * kLogitRows * c.vocabulary * kBf16Bytes};
}

}  // namespace

void save_dense_hidden(RunContext& run) {
  const at::NoGradGuard no_grad;
  const bool wanted = run.plan.model_stage.loss == reconstruct::TokenLoss::kKl &&
                      std::any_of(run.stages.begin(), run.stages.end(), is_global);
  std::optional<model::ActivationStore> x = std::exchange(run.dense_stream, std::nullopt);
  if (!wanted || run.dense_scratch.has(kDenseHidden)) return;
  if (!x) x = dense_stream(run);
  // after the final norm, (windows, l, d) bf16: all that kl needs of the dense model
  const model::Norm norm = run.dense().final_norm(run.compute.device);
  at::Tensor hidden = at::empty({x->windows(), x->length(), x->width()},
                                at::TensorOptions().dtype(at::kBFloat16).device(run.compute.device));
  for (int64_t i = 0; i < x->windows(); ++i) {
    hidden.narrow(0, i, 1).copy_(norm(x->read(i, 1)));
  }
  // The stream may be rounded and may have run in other batches. With the states that the guard compares
  // with, the loss on held-out windows is the divergence that the guard measured after the stage before.
  if (run.held_out > 0)
    hidden.narrow(0, x->windows() - run.held_out, run.held_out).copy_(dense_hidden_of_held_out(run));
  run.dense_scratch.put(kDenseHidden, hidden);
}

void repair_model(RunContext& run, const Stage& stage) {
  const model::Forward forward(run.model().config(), run.compute, run.windows.size(1));
  const reconstruct::DistilRecipe recipe = distil_recipe(run, stage);
  const Stopwatch watch;
  save_dense_hidden(run);
  const reconstruct::DistilData data{
      .windows = run.windows,
      .dense_hidden = recipe.loss == reconstruct::TokenLoss::kKl
                          ? run.dense_scratch.get(kDenseHidden).to(run.compute.device)
                          : at::Tensor(),
      .held_out = run.held_out,
      .order = RandomStream(run.plan.seed, fmt::format("order of windows, stage {}", random_name(stage)))};
  const auto mask_of = [&](const std::string& tensor) { return run.scratch.get(model::mask_name(tensor)); };
  StagePlace place(run.journal);
  const reconstruct::DistilOutcome outcome =
      reconstruct::distil({.forward = forward,
                           .weights = run.current(),
                           .mask_of = mask_of,
                           .scratch = run.scratch,
                           .before_change = [&](const std::string& tensor) { run.before_change(tensor); }},
                          data, recipe, place, run.sinks.progress);
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
                                .seconds = watch.seconds()});
}

bool keeps_all_graphs(const model::Config& config, const CompressPlan& plan, const Stage& stage) {
  const WholeModelBytes bytes = whole_model_bytes(config, plan, trained_by(stage), 0);
  return 2 * bytes.block_graph * config.blocks <= bytes.weights + bytes.optimiser;
}

/// weights: matrices and head in the compute dtype. activations: the dense model's final hidden states, bf16,
/// and every block's input of one batch, fp32. optimiser: see optimiser_bytes. workspace: the graphs of one
/// block and of its backward pass, or of all blocks (keeps_all_graphs), the logits, and the rest of the
/// process. disk: the best state in fp32, the hidden states, and two states to resume from. Operations: for
/// each token a forward pass, and a backward pass that computes the forward pass again (1 + 1 + 2 = 4), and
/// three products with the head: the model's logits, the dense model's, and the gradient.
StageBudget whole_model_budget(const CostModel& cost, const Stage& kind) {
  // The process once training runs: LibTorch's code and pools. The peak is at least this with the parts of
  // WholeModelBytes, whatever the process measured at the start; docs/memory.md compares it with runs.
  constexpr int64_t kProcess = 300LL << 20U;
  // Sweeps of 4 bytes a weight by the fused AdamW of this stage: a bf16 leaf, its gradient, the low half of
  // the master and two fp32 moments, each read and written, are 28 bytes; less, since removed weights are
  // skipped. An estimate; it decides no memory.
  constexpr double kFusedAdamSweeps = 6;
  // Products with the head, 2 x head each, for a token.
  constexpr double kHeadProducts = 3;

  StageBudget stage = cost.start(to_string(kind));
  const Trains trains = trained_by(kind);
  const model::Config& config = cost.config();
  const CompressPlan& plan = cost.plan();
  const WholeModelBytes bytes = whole_model_bytes(config, plan, trains, cost.windows());
  const int64_t graphs = keeps_all_graphs(config, plan, kind) ? config.blocks : 2;
  const int64_t matrices = cost.model_elements();
  stage.weights = (matrices + cost.head_elements()) * cost.compute_bytes();
  stage.activations = bytes.dense + bytes.inputs;
  if (trains == Trains::kRetained) stage.optimiser = bytes.optimiser;
  stage.disk += matrices * kFp32Bytes + bytes.dense + 2 * (stage.optimiser + matrices * kBf16Bytes);
  stage.workspace = std::max<int64_t>(0, bytes.total(graphs) + kProcess - stage.bytes());
  if (!backend::of(cost.compute().device).has_kernels(cost.compute().dtype)) {
    // ATen's optimiser has whole fp32 masters and masks of bytes instead of halves and bits
    const auto retained = static_cast<int64_t>(static_cast<double>(matrices) * cost.density());
    if (trains == Trains::kRetained) stage.optimiser += retained * kBf16Bytes + matrices - matrices / 8;
    stage.workspace += cost.softmax(kLogitRows);
  }
  const auto samples = static_cast<double>(plan.calibration.samples);
  const auto epochs = static_cast<double>(cost.model_epochs());
  const double tokens = epochs * static_cast<double>(plan.calibration.samples * cost.length());
  const double steps = epochs * samples / static_cast<double>(plan.model_stage.batch);
  cost.spend(stage,
             tokens * (4 * static_cast<double>(config.blocks) * cost.forward_block(cost.length()) +
                       kHeadProducts * 2 * static_cast<double>(cost.head_elements())),
             0, steps * static_cast<double>(matrices) * kFusedAdamSweeps * kFp32Bytes);
  return stage;
}

}  // namespace freelunch::pipeline
