#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>

#include "freelunch/memory/process_memory.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/pipeline/stream_walk.h"

namespace freelunch::pipeline {
namespace {

using model::ActivationStore;
using model::Block;
using model::Sublayer;
using model::WeightRole;

class MatrixRepair {
 public:
  MatrixRepair(RunContext& run, const Stage& stage)
      : run_(run),
        stage_(stage),
        propagation_(run.plan.region.propagation),
        forward_(run.model().config(), run.compute, run.windows.size(1)),
        walk_(forward_, run.activations,
              run.embed(propagation_ == Propagation::kDense ? run.dense() : run.current())) {
    if (propagation_ == Propagation::kSparseDense)
      dense_walk_.emplace(forward_, run.activations, run.embed(run.dense()));
  }

  void run() {
    const int64_t blocks = run_.model().config().blocks;
    run_.sinks.progress.begin("matrix", blocks, "blocks");
    for (int64_t b = 0; b < blocks; ++b) {
      Block block = run_.current().block(b, run_.compute.device, at::kFloat);
      const Block dense = run_.dense().block(b, run_.compute.device, run_.compute.dtype);
      const reconstruct::BlockMasks masks = run_.masks(b);
      for (const Sublayer sublayer : model::kSublayers) repair_sublayer(b, sublayer, block, dense, masks);
      release_freed_memory();
      run_.sinks.progress.advance(b + 1, "");
    }
    run_.sinks.progress.end();
    if (dense_walk_) run_.dense_stream = dense_walk_->take_stream();
    if (propagation_ == Propagation::kDense) run_.dense_stream = walk_.take_stream();
  }

 private:
  /// What a group of matrices reads, for all windows.
  ActivationStore inputs(StreamWalk& walk, const Block& block, Sublayer sublayer, size_t group) {
    const int64_t width = block[model::matrix_groups(block, sublayer)[group][0]].size(1);
    ActivationStore all = store_of(run_.windows.size(0), run_.windows.size(1), width);
    for_each_batch(run_.windows.size(0), run_.held_out, [&](int64_t i, int64_t n, bool) {
      all.write(i, walk.input(block, sublayer, group, i, n));
    });
    return all;
  }

  /// What a matrix reads in the pruned and in the dense model, (windows, l, in), the held-out ones last.
  struct Inputs {
    ActivationStore ours;
    std::optional<ActivationStore> dense;
    int64_t held_out;

    const ActivationStore& target() const { return dense ? *dense : ours; }
  };

  Inputs group_inputs(const Block& block, const Block& dense, Sublayer sublayer, size_t group) {
    Inputs result{.ours = inputs(walk_, block, sublayer, group), .dense = {}, .held_out = run_.held_out};
    if (dense_walk_) result.dense = inputs(*dense_walk_, dense, sublayer, group);
    return result;
  }

  /// What an expert's matrices read: as many windows as there are, made of the tokens that reach the expert,
  /// the last few left out; nothing where not even one for each window does.
  std::optional<Inputs> expert_inputs(const Block& block, const Block& dense, Sublayer sublayer,
                                      size_t group) {
    std::array<std::vector<at::Tensor>, 2> ours, theirs;
    for_each_batch(run_.windows.size(0), run_.held_out, [&](int64_t i, int64_t n, bool held_out) {
      const at::Tensor tokens = walk_.tokens(block, sublayer, group, i, n);
      const size_t side = held_out ? 1 : 0;
      ours.at(side).push_back(walk_.input(block, sublayer, group, i, n, tokens)[0]);
      if (dense_walk_) theirs.at(side).push_back(dense_walk_->input(dense, sublayer, group, i, n, tokens)[0]);
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
    Inputs result{.ours = joined(ours), .dense = {}, .held_out = 0};
    if (dense_walk_) result.dense = joined(theirs);
    result.held_out = result.ours.windows() - windows;
    return result;
  }

  /// Inputs or outputs of a matrix, in the compute dtype.
  ActivationStore store_of(int64_t windows, int64_t length, int64_t width) const {
    return {run_.activations, {windows, length, width}, run_.compute.dtype, run_.compute.device};
  }

  void repair_sublayer(int64_t b, Sublayer sublayer, Block& block, const Block& dense,
                       const reconstruct::BlockMasks& masks) {
    const std::string name = fmt::format("blocks.{}.{}", b, model::name(sublayer));
    if (run_.journal.done(name)) return pass_sublayer(b, sublayer, dense);
    // under dense propagation the one stream there is runs through the dense weights
    Block cast = propagation_ == Propagation::kDense ? dense : block;
    const auto groups = model::matrix_groups(block, sublayer);
    for (size_t g = 0; g < groups.size(); ++g) {
      const bool expert = groups[g][0].expert >= 0;
      const std::optional<Inputs> read =
          expert ? expert_inputs(cast, dense, sublayer, g) : group_inputs(cast, dense, sublayer, g);
      for (const WeightRole role : groups[g]) {
        if (read) repair_matrix(b, role, block, dense, masks, *read);
        if (propagation_ != Propagation::kDense) cast.set(role, block[role].to(run_.compute.dtype));
      }
    }
    for_each_batch(run_.windows.size(0), run_.held_out, [&](int64_t i, int64_t n, bool) {
      walk_.advance(cast, sublayer, i, n);
      if (dense_walk_) dense_walk_->advance(dense, sublayer, i, n);
    });
    walk_.end_sublayer();
    if (dense_walk_) dense_walk_->end_sublayer();
    run_.save_to_scratch(b, block, sublayer);
    run_.journal.commit(name);
  }

  /// Past a sublayer that an earlier process repaired.
  void pass_sublayer(int64_t b, Sublayer sublayer, const Block& dense) {
    const Block ours = propagation_ == Propagation::kDense
                           ? dense
                           : run_.current().block(b, run_.compute.device, run_.compute.dtype);
    for_each_batch(run_.windows.size(0), run_.held_out, [&](int64_t i, int64_t n, bool) {
      walk_.pass(ours, sublayer, i, n);
      if (dense_walk_) dense_walk_->pass(dense, sublayer, i, n);
    });
    walk_.end_sublayer();
    if (dense_walk_) dense_walk_->end_sublayer();
  }

  void repair_matrix(int64_t b, WeightRole role, Block& block, const Block& dense,
                     const reconstruct::BlockMasks& masks, const Inputs& inputs) {
    const auto start = std::chrono::steady_clock::now();
    const WeightRole bias = model::bias_of(role);
    reconstruct::MatrixRegion region(block[role], block[bias], masks[role], run_.compute.dtype);
    const reconstruct::MatrixRegion target(dense[role], dense[bias], {}, run_.compute.dtype);
    ActivationStore targets = store_of(inputs.ours.windows(), inputs.ours.length(), block[role].size(0));
    target.run(inputs.target(), targets);
    const reconstruct::RegionData data{
        .inputs = inputs.ours, .targets = targets, .held_out = inputs.held_out, .next_norm = {}};
    const std::string name =
        fmt::format("blocks.{}.{}.{}", b, model::name(model::sublayer_of(role)), model::short_name(role));
    RandomStream random(run_.plan.seed, "order of windows, stage matrix, " + name);
    const auto outcome = reconstruct::descend(
        region, data, descent_recipe(run_, stage_, fmt::format(".{}", model::short_name(role))), random,
        name);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    run_.report.regions.push_back(
        {.stage = to_string(stage_), .region = name, .outcome = outcome, .seconds = seconds});
  }

  RunContext& run_;
  Stage stage_;
  Propagation propagation_;
  model::Forward forward_;
  StreamWalk walk_;
  std::optional<StreamWalk> dense_walk_;
};

}  // namespace

void repair_matrices(RunContext& run, const Stage& stage) { MatrixRepair(run, stage).run(); }

}  // namespace freelunch::pipeline
