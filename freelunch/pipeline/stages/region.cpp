#include <ATen/ATen.h>

#include <chrono>
#include <map>

#include "freelunch/memory/process_memory.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/storage/transfer.h"

namespace freelunch::pipeline {
namespace {

using model::ActivationStore;
using model::Block;
using model::Sublayer;
using model::WeightRole;
using reconstruct::StreamRegion;

/// The norm that reads the stream after a sublayer: the MLP's, the next block's, or the final one. From the
/// dense model.
reconstruct::NextNorm next_norm(const RunContext& run, int64_t block, Sublayer sublayer) {
  const model::LanguageModel& model = run.teacher;
  const model::Config& config = model.config();
  const bool last = block + 1 == config.blocks;
  const bool mlp_reads = sublayer == Sublayer::kAttention && !config.parallel;
  if (!mlp_reads && last) return run.dense().final_norm(run.compute.device);
  if (!config.norms_input()) return {.kind = model::NormKind::kNone};
  const int64_t reader = mlp_reads ? block : block + 1;
  return model::norm_of(config, mlp_reads ? WeightRole::kMlpNorm : WeightRole::kAttentionNorm,
                        [&](WeightRole role) {
                          return model::to_device(model.read(*model.find(reader, role)), run.compute.device);
                        });
}

struct Place {
  int64_t block;
  Sublayer sublayer;
};

/// The sublayers of each region, in the order of the forward pass. The last of the groups of K may be
/// shorter.
std::vector<std::vector<Place>> regions_of(const Stage& stage, int64_t blocks) {
  const int64_t sublayers = stage.kind == StageKind::kSublayer ? 1 : 2 * stage.blocks;
  std::vector<std::vector<Place>> regions;
  for (int64_t i = 0; i < 2 * blocks; ++i) {
    if (i % sublayers == 0) regions.emplace_back();
    regions.back().push_back({i / 2, model::kSublayers.at(static_cast<size_t>(i % 2))});
  }
  return regions;
}

/// Regions alike have one rate.
std::string_view kind_of(const std::vector<Place>& places) {
  return places.size() == 1 ? model::name(places[0].sublayer) : "";
}

std::string region_name(const std::vector<Place>& places) {
  const int64_t first = places.front().block;
  const int64_t last = places.back().block;
  if (places.size() == 1) return fmt::format("blocks.{}.{}", first, model::name(places[0].sublayer));
  return first == last ? fmt::format("blocks.{}", first) : fmt::format("blocks.{}-{}", first, last);
}

/// The blocks that the region at work needs.
class LoadedBlocks {
 public:
  struct Loaded {
    Block masters, dense;  // fp32; the dense model's, in the compute dtype
    reconstruct::BlockMasks masks;
  };

  explicit LoadedBlocks(const RunContext& run) : run_(run) {}

  void keep_from(int64_t first, int64_t last) {
    loaded_.erase(loaded_.begin(), loaded_.lower_bound(first));
    for (int64_t b = first; b <= last; ++b) {
      if (loaded_.contains(b)) continue;
      loaded_[b] = {.masters = run_.current().block(b, run_.compute.device, at::kFloat),
                    .dense = run_.dense().block(b, run_.compute.device, run_.compute.dtype),
                    .masks = run_.masks(b)};
    }
  }
  Loaded& at(int64_t block) { return loaded_.at(block); }

 private:
  const RunContext& run_;
  std::map<int64_t, Loaded> loaded_;
};

/// Runs a region over a stream, into its place or another's; a stream that changes its width is made anew.
void advance(const RunContext& run, const StreamRegion& region, int64_t width, const ActivationStore& in,
             ActivationStore& out) {
  if (out.width() == width) {
    region.run(in, out);
    return;
  }
  ActivationStore fresh(run.activations, {in.windows(), in.length(), width}, at::kFloat, run.compute.device);
  region.run(in, fresh);
  out = std::move(fresh);
}

}  // namespace

void repair_regions(RunContext& run, const Stage& stage) {
  const model::Config& config = run.model().config();
  const RegionOptions& options = run.plan.region;
  const Propagation propagation = options.propagation;
  const model::Forward forward(config, run.compute, run.windows.size(1));

  // What regions read: the pruned and repaired stream, or under dense propagation the dense one. The dense
  // model's outputs are made in place where nothing else reads what they replace.
  const bool from_dense = propagation == Propagation::kDense;
  const bool dense_targets = propagation == Propagation::kSparseDense;
  ActivationStore x = run.embed(from_dense ? run.dense() : run.current());
  ActivationStore targets = dense_targets ? run.embed(run.dense()) : run.empty_stream(run.windows.size(0));
  LoadedBlocks blocks(run);
  run.sinks.progress.begin(to_string(stage), config.blocks, "blocks");
  for (const std::vector<Place>& places : regions_of(stage, config.blocks)) {
    const auto start = std::chrono::steady_clock::now();
    blocks.keep_from(places.front().block, places.back().block);
    std::vector<reconstruct::RegionSublayer> ours, theirs;
    for (const Place& place : places) {
      LoadedBlocks::Loaded& loaded = blocks.at(place.block);
      ours.push_back({.block = &loaded.masters, .masks = &loaded.masks, .sublayer = place.sublayer});
      theirs.push_back({.block = &loaded.dense, .masks = &loaded.masks, .sublayer = place.sublayer});
    }
    StreamRegion region(forward, ours);
    const StreamRegion target(forward, theirs);
    const int64_t width = forward.stream_width(places.back().sublayer);
    advance(run, target, width, dense_targets ? targets : x, targets);
    const reconstruct::RegionData data{
        .inputs = x,
        .targets = targets,
        .held_out = run.held_out,
        .next_norm = options.loss == reconstruct::Loss::kNextNorm
                         ? next_norm(run, places.back().block, places.back().sublayer)
                         : reconstruct::NextNorm{}};
    const std::string name = region_name(places);
    const bool done = run.journal.done(name);  // by an earlier process: only the streams go past it
    reconstruct::RegionOutcome outcome;
    if (!done) {
      RandomStream random(run.plan.seed,
                          fmt::format("order of windows, stage {}, {}", to_string(stage), name));
      outcome = reconstruct::descend(region, data, descent_recipe(run, stage, kind_of(places)), random, name);
    }
    if (from_dense)
      std::swap(x, targets);
    else
      advance(run, region, width, x, x);
    if (!done) {
      for (const Place& place : places)
        run.save_to_scratch(place.block, blocks.at(place.block).masters, place.sublayer);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      run.report.regions.push_back(
          {.stage = to_string(stage), .region = name, .outcome = outcome, .seconds = seconds});
      run.journal.commit(name);
    }
    if (places.back().sublayer == Sublayer::kMlp) {
      release_freed_memory();
      run.sinks.progress.advance(places.back().block + 1,
                                 done ? "" : fmt::format("error x {:.2f}", outcome.after / outcome.before));
    }
  }
  run.sinks.progress.end();
  if (propagation != Propagation::kSparse) run.dense_stream = std::move(from_dense ? x : targets);
}

}  // namespace freelunch::pipeline
