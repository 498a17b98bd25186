#include <ATen/ATen.h>

#include <chrono>

#include "pipeline/compression.h"
#include "pipeline/memory.h"
#include "pipeline/stream_walk.h"

namespace freelunch::pipeline {
namespace {

using model::ActivationStore;
using model::Block;
using model::Half;
using model::Part;

class MatrixRepair {
 public:
  MatrixRepair(Compression& run, const Stage& stage)
      : run_(run),
        stage_(stage),
        propagation_(run.plan.region.propagation),
        forward_(run.model().config(), run.compute, run.windows.size(1)),
        recipe_(descent_recipe(run, stage)),
        random_(run.plan.seed, "order of windows, stage matrix"),
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
      for (const Half half : model::kHalves) repair_half(b, half, block, dense, masks);
      release_freed_memory();
      run_.sinks.progress.advance(b + 1, "");
    }
    run_.sinks.progress.end();
    if (dense_walk_) run_.dense_stream = dense_walk_->take_stream();
    if (propagation_ == Propagation::kDense) run_.dense_stream = walk_.take_stream();
  }

 private:
  /// What a group of matrices reads, for all windows.
  ActivationStore inputs(StreamWalk& walk, const Block& block, Half half, size_t group) {
    ActivationStore all = store_of(block[model::matrix_groups(block, half)[group][0]].size(1));
    for_each_batch(run_.windows.size(0), run_.held_out,
                   [&](int64_t i, int64_t n, bool) { all.write(i, walk.input(block, half, group, i, n)); });
    return all;
  }

  /// Inputs or outputs of a matrix, in the compute dtype.
  ActivationStore store_of(int64_t width) const {
    return {run_.activations,
            {run_.windows.size(0), run_.windows.size(1), width},
            run_.compute.dtype,
            run_.compute.device};
  }

  void repair_half(int64_t b, Half half, Block& block, const Block& dense,
                   const reconstruct::BlockMasks& masks) {
    // under dense propagation the one stream there is runs through the dense weights
    Block cast = propagation_ == Propagation::kDense ? dense : block;
    const auto groups = model::matrix_groups(block, half);
    for (size_t g = 0; g < groups.size(); ++g) {
      const ActivationStore X = inputs(walk_, cast, half, g);
      std::optional<ActivationStore> dense_X;
      if (dense_walk_) dense_X = inputs(*dense_walk_, dense, half, g);
      for (const Part part : groups[g]) {
        repair_matrix(b, part, block, dense, masks, {X, dense_X ? *dense_X : X});
        if (propagation_ != Propagation::kDense) cast[part] = block[part].to(run_.compute.dtype);
      }
    }
    for_each_batch(run_.windows.size(0), run_.held_out, [&](int64_t i, int64_t n, bool) {
      walk_.advance(cast, half, i, n);
      if (dense_walk_) dense_walk_->advance(dense, half, i, n);
    });
    walk_.end_half();
    if (dense_walk_) dense_walk_->end_half();
    run_.keep(b, block, half);
  }

  struct Inputs {
    const ActivationStore& ours;
    const ActivationStore& target;
  };
  void repair_matrix(int64_t b, Part part, Block& block, const Block& dense,
                     const reconstruct::BlockMasks& masks, const Inputs& inputs) {
    const auto start = std::chrono::steady_clock::now();
    const Part bias = model::bias_of(part);
    reconstruct::MatrixRegion region(block[part], block[bias], masks[part], run_.compute.dtype);
    const reconstruct::MatrixRegion target(dense[part], dense[bias], {}, run_.compute.dtype);
    ActivationStore targets = store_of(block[part].size(0));
    target.run(inputs.target, targets);
    const reconstruct::RegionData data{
        .inputs = inputs.ours, .targets = targets, .held_out = run_.held_out, .next_norm = {}};
    const std::string name =
        fmt::format("blocks.{}.{}.{}", b, model::name(model::half_of(part)), model::short_name(part));
    const auto outcome = reconstruct::descend(region, data, recipe_, random_, name);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    run_.report.regions.push_back(
        {.stage = to_string(stage_), .region = name, .outcome = outcome, .seconds = seconds});
  }

  Compression& run_;
  Stage stage_;
  Propagation propagation_;
  model::Forward forward_;
  reconstruct::DescentRecipe recipe_;
  RandomStream random_;
  StreamWalk walk_;
  std::optional<StreamWalk> dense_walk_;
};

}  // namespace

void repair_matrices(Compression& run, const Stage& stage) { MatrixRepair(run, stage).run(); }

}  // namespace freelunch::pipeline
