#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <optional>

#include "freelunch/base/stopwatch.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/pipeline/stages/region_descent.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/pipeline/sublayer_place.h"

namespace freelunch::pipeline {
namespace {

using model::ActivationStore;
using model::Block;
using model::Sublayer;
using model::WeightRole;

/// The inputs of a group of matrices in the pruned and in the dense model, (windows, l, in), the held-out
/// windows last.
struct GroupInputs {
  ActivationStore ours;
  std::optional<ActivationStore> dense;
  int64_t held_out;

  /// What the dense matrix reads for the targets.
  const ActivationStore& for_targets() const { return dense ? *dense : ours; }
};

class MatrixRepair {
 public:
  MatrixRepair(RunContext& run, const Stage& stage)
      : run_(run),
        stage_(stage),
        propagation_(run.plan.region.propagation),
        forward_(run.model().config(), run.compute, run.windows.size(1)),
        streams_(run.streams(forward_, propagation_ == Propagation::kDense ? run.unpruned() : run.current(),
                             propagation_ == Propagation::kSparseDense)) {}

  void run() {
    const int64_t blocks = run_.model().config().blocks;
    run_.sinks.progress.begin("matrix", blocks, "blocks");
    for (int64_t b = 0; b < blocks; ++b) {
      Block block = run_.current().block(b, run_.compute.device, at::kFloat);
      const Block dense = run_.unpruned().block(b, run_.compute.device, run_.compute.dtype);
      const reconstruct::BlockMasks masks = run_.masks(b);
      for (const Sublayer sublayer : model::kSublayers) repair_sublayer(b, sublayer, block, dense, masks);
      release_freed_memory();
      run_.sinks.progress.advance(b + 1, "");
    }
    run_.sinks.progress.end();
    if (run_.is_smaller()) return;  // the streams were those of the smaller model before its repair
    if (streams_.has_dense()) run_.dense_stream = streams_.take_dense();
    if (propagation_ == Propagation::kDense) run_.dense_stream = streams_.take_ours();
  }

 private:
  /// Space for inputs or outputs of a matrix, in the compute dtype.
  ActivationStore store_of(int64_t windows, int64_t length, int64_t width) const {
    return {run_.activations, {windows, length, width}, run_.compute.dtype, run_.compute.device};
  }

  GroupInputs group_inputs(const Block& block, const Block& dense, Sublayer sublayer, size_t group) {
    const int64_t width = block[model::matrix_groups(block, sublayer)[group][0]].size(1);
    const auto empty = [&] { return store_of(run_.windows.size(0), run_.windows.size(1), width); };
    GroupInputs inputs{.ours = empty(), .dense = {}, .held_out = run_.held_out};
    if (streams_.has_dense()) inputs.dense = empty();
    streams_.for_each_input(block, dense, sublayer, group,
                            [&](const at::Tensor& X, const at::Tensor& Y, int64_t i, bool) {
                              inputs.ours.write(i, X);
                              if (inputs.dense) inputs.dense->write(i, Y);
                            });
    return inputs;
  }

  /// The inputs of an expert's matrices: the tokens that reach the expert, cut into as many windows as there
  /// are; the remainder is dropped. Nothing if fewer tokens than windows reach it.
  std::optional<GroupInputs> expert_inputs(const Block& block, const Block& dense, Sublayer sublayer,
                                           size_t group) {
    std::array<std::vector<at::Tensor>, 2> ours, theirs;
    streams_.for_each_input(block, dense, sublayer, group,
                            [&](const at::Tensor& X, const at::Tensor& Y, int64_t, bool held_out) {
                              ours.at(held_out ? 1 : 0).push_back(X[0]);
                              if (Y.defined()) theirs.at(held_out ? 1 : 0).push_back(Y[0]);
                            });
    const int64_t windows = run_.windows.size(0) - run_.held_out;
    const int64_t length = at::cat(ours[0]).size(0) / windows;
    if (length == 0) return std::nullopt;
    const auto cut = [&](const std::vector<at::Tensor>& parts) {
      const at::Tensor all = at::cat(parts);
      const int64_t n = std::min(windows, all.size(0) / length);
      return all.narrow(0, 0, n * length).view({n, length, all.size(1)});
    };
    const auto joined = [&](const std::array<std::vector<at::Tensor>, 2>& sides) {
      return ActivationStore(sides[1].empty() ? cut(sides[0]) : at::cat({cut(sides[0]), cut(sides[1])}));
    };
    GroupInputs inputs{.ours = joined(ours), .dense = {}, .held_out = 0};
    if (streams_.has_dense()) inputs.dense = joined(theirs);
    inputs.held_out = inputs.ours.windows() - windows;
    return inputs;
  }

  void repair_sublayer(int64_t b, Sublayer sublayer, Block& block, const Block& dense,
                       const reconstruct::BlockMasks& masks) {
    const std::string name = SublayerPlace{b, sublayer}.name();
    // under dense propagation our stream runs through the dense weights
    const bool runs_dense = propagation_ == Propagation::kDense;
    if (run_.journal.done(name)) {  // repaired by an earlier process
      const Block ours =
          runs_dense ? dense : run_.current().block(b, run_.compute.device, run_.compute.dtype);
      return streams_.pass(ours, dense, sublayer);
    }
    Block cast = runs_dense ? dense : block;
    const auto groups = model::matrix_groups(block, sublayer);
    for (size_t g = 0; g < groups.size(); ++g) {
      const bool expert = groups[g][0].expert >= 0;
      const std::optional<GroupInputs> inputs =
          expert ? expert_inputs(cast, dense, sublayer, g) : group_inputs(cast, dense, sublayer, g);
      for (const WeightRole role : groups[g]) {
        if (inputs) repair_matrix(b, role, block, dense, masks, *inputs);
        if (!runs_dense) cast.set(role, block[role].to(run_.compute.dtype));
      }
    }
    streams_.advance(cast, dense, sublayer);
    run_.save_to_scratch(b, block, sublayer);
    run_.journal.commit(name);
  }

  void repair_matrix(int64_t b, WeightRole role, Block& block, const Block& dense,
                     const reconstruct::BlockMasks& masks, const GroupInputs& inputs) {
    const Stopwatch watch;
    const WeightRole bias = model::bias_of(role);
    reconstruct::MatrixRegion region(block[role], block[bias], masks[role], run_.compute.dtype);
    const reconstruct::MatrixRegion target(dense[role], dense[bias], {}, run_.compute.dtype);
    ActivationStore targets = store_of(inputs.ours.windows(), inputs.ours.length(), block[role].size(0));
    target.run(inputs.for_targets(), targets);
    const reconstruct::RegionData data{
        .inputs = inputs.ours, .targets = targets, .held_out = inputs.held_out, .next = {}};
    const std::string name =
        fmt::format("{}.{}", SublayerPlace{b, model::sublayer_of(role)}.name(), model::short_name(role));
    RandomStream random(run_.plan.seed, "order of windows, stage matrix, " + name);
    const auto outcome = reconstruct::descend(
        region, data, descent_recipe(run_, stage_, fmt::format(".{}", model::short_name(role))), random,
        name);
    run_.report.regions.push_back(
        {.stage = to_string(stage_), .region = name, .outcome = outcome, .seconds = watch.seconds()});
  }

  RunContext& run_;
  Stage stage_;
  Propagation propagation_;
  model::Forward forward_;
  StreamPair streams_;
};

void repair_matrices(RunContext& run, const Stage& stage) { MatrixRepair(run, stage).run(); }

/// activations: one residual stream (two under sparse-dense propagation), for each the stored inputs of
/// second groups and the inputs of the matrix, and one target. weights: a block as fp32 masters, the dense
/// one in the compute dtype, ours cast to it unless that is fp32, and its masks. optimiser: of the largest
/// matrix the leaf in the compute dtype, and in fp32 its gradient, the best state and two moments of the
/// retained weights. workspace: a pass, a training step, or a measurement of the loss, whichever is largest.
/// Operations: each stream once through the block and the targets; training takes a forward and two backward
/// products, 6 a weight and token.
StageBudget matrix_budget(const CostModel& cost, const Stage& kind) {
  StageBudget stage = cost.start(to_string(kind));
  const bool two = cost.plan().region.propagation == Propagation::kSparseDense;
  const double streams = two ? 2 : 1;
  const int64_t inner = cost.mlp().inner;
  const int64_t width = cost.config().width;
  const int64_t largest = cost.largest_matrix();
  cost.add_residual_streams(stage, streams);
  cost.add_streams(stage, 2 * streams, inner, cost.compute().dtype);
  cost.add_streams(stage, 1, width, cost.compute().dtype);
  const int64_t cast = cost.compute().dtype == at::kFloat ? 0 : cost.compute_bytes();
  stage.weights = cost.block_elements() * (kFp32Bytes + cost.compute_bytes() + cast + 1);
  stage.optimiser = largest * (cost.compute_bytes() + 2 * kFp32Bytes) +
                    static_cast<int64_t>(static_cast<double>(largest) * cost.density() * (2 * kFp32Bytes));
  const int64_t tokens = cost.plan().region.batch * cost.length();
  const int64_t measured = reconstruct::windows_at_a_time(cost.length()) * cost.length();
  // a step: inputs, outputs and their gradient in fp32, the weights and their gradient in the compute dtype
  const int64_t training = tokens * inner * 3 * kFp32Bytes + largest * 2 * cost.compute_bytes();
  // the loss: outputs, targets, their difference and its square in fp32
  const int64_t measuring = measured * std::max(inner, width) * 4 * kFp32Bytes;
  stage.workspace = std::max({cost.widest_pass(kWindowsPerPass * cost.length()), training, measuring});
  const auto [trained, steps] = cost.region_training();
  const auto elements = static_cast<double>(cost.block_elements());
  const auto blocks = static_cast<double>(cost.config().blocks);
  cost.spend(
      stage,
      blocks * (cost.tokens() * (streams + 1) * cost.forward_block(cost.length()) + trained * 6 * elements),
      0, blocks * steps * elements * kAdamSweeps * kFp32Bytes);
  return stage;
}

}  // namespace

/// Gradient descent on one matrix and its bias after the other.
const StageType& matrix_stage() {
  static const StageType type{.name = "matrix",
                              .ends_in_stream = false,
                              .default_rate = [](int64_t) { return 1.9e-3; },
                              .budget = &matrix_budget,
                              .run = &repair_matrices};
  return type;
}

}  // namespace freelunch::pipeline
