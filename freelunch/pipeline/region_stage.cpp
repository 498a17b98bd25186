#include <ATen/ATen.h>

#include <chrono>

#include "pipeline/compression.h"
#include "pipeline/memory.h"

namespace freelunch::pipeline {
namespace {

using model::Block;
using model::Half;
using model::Part;
using reconstruct::Region;

/// The norm that reads the stream after a half: the MLP's, the next block's, or the final one. From the dense
/// model.
reconstruct::NextNorm next_norm(const Compression& run, int64_t block, Half half) {
  const model::LanguageModel& model = run.model();
  const model::ModelTensor* tensor = &model.final_norm();
  if (half == Half::kAttention)
    tensor = model.find(block, Part::kMlpNorm);
  else if (block + 1 < model.config().blocks)
    tensor = model.find(block + 1, Part::kAttentionNorm);
  return {.weight = model.read(*tensor).to(run.compute.device), .epsilon = model.config().norm_epsilon};
}

/// The halves of one block, grouped into regions.
std::vector<std::vector<Half>> regions_of_block(StageKind stage) {
  if (stage == StageKind::kBlock) return {{Half::kAttention, Half::kMlp}};
  return {{Half::kAttention}, {Half::kMlp}};
}

std::string region_name(int64_t block, const std::vector<Half>& halves) {
  return halves.size() == 2 ? fmt::format("blocks.{}", block)
                            : fmt::format("blocks.{}.{}", block, model::name(halves[0]));
}

}  // namespace

void repair_regions(Compression& run, StageKind stage) {
  const model::Config& config = run.model().config();
  const RegionOptions& options = run.plan.region;
  const model::Forward forward(config, run.compute, run.windows.size(1));
  const reconstruct::DescentRecipe recipe{
      .loss = options.loss,
      .adam = {.learning_rate = options.learning_rate.value_or(default_region_rate(config.width))},
      .epochs = options.epochs,
      .batch = options.batch,
      .freeze_norms = options.freeze_norms};
  RandomStream random(run.plan.seed, fmt::format("order of windows, stage {}", name(stage)));

  at::Tensor x = run.dense().embed(run.windows, run.compute.device);  // the pruned and repaired stream
  at::Tensor dense_x = x.clone();
  run.sinks.progress.begin(name(stage), config.blocks, "blocks");
  for (int64_t b = 0; b < config.blocks; ++b) {
    Block block = run.current().block(b, run.compute.device, at::kFloat);
    Block dense = run.dense().block(b, run.compute.device, run.compute.dtype);
    const reconstruct::BlockMasks masks = run.masks(b);
    double improved = 0;
    for (const std::vector<Half>& halves : regions_of_block(stage)) {
      const auto start = std::chrono::steady_clock::now();
      Region region, target_region;
      for (const Half half : halves) {
        region.push_back({.block = &block, .masks = &masks, .half = half});
        target_region.push_back({.block = &dense, .masks = &masks, .half = half});
      }
      const reconstruct::RegionData data{.inputs = x,
                                         .targets = reconstruct::run_region(forward, target_region, dense_x),
                                         .held_out = run.held_out,
                                         .next_norm = options.loss == reconstruct::Loss::kNextNorm
                                                          ? next_norm(run, b, halves.back())
                                                          : reconstruct::NextNorm{}};
      const std::string region_text = region_name(b, halves);
      const auto outcome = reconstruct::descend(forward, region, data, recipe, random, region_text);
      dense_x = data.targets;
      x = reconstruct::run_region(forward, region, x);
      for (const Half half : halves) run.keep(b, block, half);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      run.report.regions.push_back(
          {.stage = std::string(name(stage)), .region = region_text, .outcome = outcome, .seconds = seconds});
      improved = outcome.after / outcome.before;
    }
    release_freed_memory();
    run.sinks.progress.advance(b + 1, fmt::format("error x {:.2f}", improved));
  }
  run.sinks.progress.end();
  run.dense_stream = dense_x;
}

}  // namespace freelunch::pipeline
