#include "freelunch/pipeline/stages/region_descent.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>

#include "freelunch/backend/backend.h"
#include "freelunch/base/stopwatch.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/pipeline/former_tensors.h"
#include "freelunch/pipeline/stages/next_reader.h"
#include "freelunch/pipeline/stages/region_probe.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/pipeline/sublayer_place.h"
#include "freelunch/storage/transfer.h"

namespace freelunch::pipeline {
namespace {

using model::ActivationStore;
using model::Block;
using model::Sublayer;
using model::WeightRole;
using reconstruct::StreamRegion;

/// The places of each region, in the order of the forward pass. The last region may be shorter.
std::vector<std::vector<SublayerPlace>> regions_of(int64_t sublayers, int64_t blocks) {
  std::vector<std::vector<SublayerPlace>> regions;
  for (int64_t i = 0; i < 2 * blocks; ++i) {
    if (i % sublayers == 0) regions.emplace_back();
    regions.back().push_back({i / 2, model::kSublayers.at(static_cast<size_t>(i % 2))});
  }
  return regions;
}

/// Comparable regions share what was learned about their rate: all attention sublayers, all MLPs, or all
/// regions of whole blocks.
std::string_view kind_of(const std::vector<SublayerPlace>& places) {
  return places.size() == 1 ? model::name(places[0].sublayer) : "";
}

std::string region_name(const std::vector<SublayerPlace>& places) {
  const int64_t first = places.front().block;
  const int64_t last = places.back().block;
  if (places.size() == 1) return places[0].name();
  return first == last ? fmt::format("blocks.{}", first) : fmt::format("blocks.{}-{}", first, last);
}

/// The blocks of the current region.
class LoadedBlocks {
 public:
  struct Loaded {
    Block masters;               // fp32
    Block dense;                 // the teacher's block behind it, in the compute dtype, with its index there
    std::vector<Block> removed;  // the teacher's blocks that were removed before it, likewise
    reconstruct::BlockMasks masks;
  };

  explicit LoadedBlocks(const RunContext& run) : run_(run) {}

  /// Loads blocks first to last and drops all before them.
  void load(int64_t first, int64_t last) {
    loaded_.erase(loaded_.begin(), loaded_.lower_bound(first));
    for (int64_t b = first; b <= last; ++b) {
      if (loaded_.contains(b)) continue;
      loaded_[b] = {.masters = run_.current().block(b, run_.compute.device, at::kFloat),
                    .dense = teacher(run_.teacher_block(b)),
                    .removed = removed_before(b),
                    .masks = run_.masks(b)};
    }
  }
  /// The teacher's blocks that were removed before a block of ours, or behind the last.
  std::vector<Block> removed_before(int64_t block) const {
    std::vector<Block> removed;
    for (const int64_t b : run_.removed_before(block)) removed.push_back(teacher(b));
    return removed;
  }
  Loaded& at(int64_t block) { return loaded_.at(block); }
  void clear() { loaded_.clear(); }

 private:
  Block teacher(int64_t block) const {
    return run_.dense().block(block, run_.compute.device, run_.compute.dtype);
  }

  const RunContext& run_;
  std::map<int64_t, Loaded> loaded_;
};

/// Adds both sublayers of blocks that nothing is trained in.
void add_whole(std::vector<Block>& blocks, const reconstruct::BlockMasks& masks,
               std::vector<reconstruct::RegionSublayer>& region) {
  for (Block& block : blocks) {
    for (const Sublayer sublayer : model::kSublayers)
      region.push_back({.block = &block, .masks = &masks, .sublayer = sublayer});
  }
}

/// Writes the output of a region on all windows of `in` to `out`, which may be the same stream. A stream of
/// another width than the region's output is replaced.
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

/// The peak learning rate of the next region of a kind: see descent_recipe.
double starting_rate(const RunReport& report, const std::string& stage, std::string_view kind, double rate) {
  int64_t seen = 0;
  double needed = 0;
  for (auto r = report.regions.rbegin(); r != report.regions.rend() && seen < 2; ++r) {
    if (r->stage != stage || !r->region.ends_with(kind) || !r->outcome.improved) continue;
    needed = std::max(needed, r->outcome.learning_rate);
    ++seen;
  }
  return seen == 2 ? std::min(rate, needed) : rate;
}

class RegionRepair {
 public:
  RegionRepair(RunContext& run, const Stage& stage)
      : run_(run),
        stage_(stage),
        from_dense_(run.plan.region.propagation == Propagation::kDense),
        dense_targets_(run.plan.region.propagation == Propagation::kSparseDense),
        forward_(run.model().config(), run.compute, run.windows.size(1)),
        teacher_forward_(run.teacher.config(), run.compute, run.windows.size(1)),
        x_(run.embed(from_dense_ ? run.dense() : run.current())),
        targets_(dense_targets_ ? run.embed(run.dense()) : run.empty_stream(run.windows.size(0))),
        blocks_(run) {
    if (run.keeps_former) probe_.emplace(run, forward_);
  }

  void run(int64_t sublayers) {
    const int64_t blocks = run_.model().config().blocks;
    run_.sinks.progress.begin(to_string(stage_), blocks, "blocks");
    bool helps = true;
    for (const std::vector<SublayerPlace>& places : regions_of(sublayers, blocks)) {
      repair_region(places);
      helps = still_helps(places);
      if (!helps) break;
    }
    run_.sinks.progress.end();
    if (!helps || run_.plan.region.propagation == Propagation::kSparse) return;
    std::vector<Block> last = blocks_.removed_before(blocks);
    pass_removed(last, {});
    run_.dense_stream = std::move(from_dense_ ? x_ : targets_);
  }

 private:
  /// Takes the dense stream, if there is one, through blocks that ours lacks.
  void pass_removed(std::vector<Block>& blocks, const reconstruct::BlockMasks& masks) {
    if (blocks.empty() || (!from_dense_ && !dense_targets_)) return;
    std::vector<reconstruct::RegionSublayer> sublayers;
    add_whole(blocks, masks, sublayers);
    ActivationStore& stream = from_dense_ ? x_ : targets_;
    StreamRegion(teacher_forward_, sublayers).run(stream, stream);
  }

  /// Asks the probe where it is due. If the stage hurts, puts the blocks since the last good reading back to
  /// what they were before the stage. The next commit is that of the stage, so a process that resumes before
  /// it reads the same again.
  bool still_helps(const std::vector<SublayerPlace>& places) {
    if (!probe_ || places.back().sublayer != Sublayer::kMlp) return true;
    const int64_t first = places.front().block;
    const int64_t last = places.back().block;
    for (int64_t b = first; b <= last; ++b) probe_->advance(blocks_.at(b).masters);
    blocks_.clear();  // the next region starts with the next block, and the reading needs space
    const bool due = probe_->due(first, last);
    const RegionProbe::Reading reading = due ? probe_->read(last) : RegionProbe::Reading{};
    release_freed_memory();  // blocks and head must not stay next to the next region's training
    if (!due) return true;
    run_.sinks.log.log(LogLevel::kDebug,
                       fmt::format("{}: KL divergence with the dense model behind block {}: {:.6g} -> {:.6g}",
                                   to_string(stage_), last, reading.before, reading.now));
    if (reading.helps()) {
      good_ = last + 1;
      return true;
    }
    for (int64_t b = good_; b <= last; ++b) {
      for (const model::ModelTensor* tensor : run_.model().block_tensors(b))
        restore_former(run_.scratch, tensor->name);
    }
    run_.note = fmt::format("stopped after block {}", last);
    run_.sinks.log.log(
        LogLevel::kWarning,
        fmt::format(
            "{}: {}, blocks {} to {} undone, since the KL divergence with the dense model behind them "
            "rose from {:.6g} to {:.6g}",
            to_string(stage_), run_.note, good_, last, reading.before, reading.now));
    return false;
  }

  void repair_region(const std::vector<SublayerPlace>& places) {
    const Stopwatch watch;
    blocks_.load(places.front().block, places.back().block);
    std::vector<reconstruct::RegionSublayer> ours, theirs;
    for (const SublayerPlace& place : places) {
      LoadedBlocks::Loaded& loaded = blocks_.at(place.block);
      if (place.sublayer == Sublayer::kAttention && theirs.empty())
        pass_removed(loaded.removed, loaded.masks);
      else if (place.sublayer == Sublayer::kAttention)
        add_whole(loaded.removed, loaded.masks, theirs);
      ours.push_back({.block = &loaded.masters, .masks = &loaded.masks, .sublayer = place.sublayer});
      theirs.push_back({.block = &loaded.dense, .masks = &loaded.masks, .sublayer = place.sublayer});
    }
    StreamRegion region(forward_, ours);
    const StreamRegion target(teacher_forward_, theirs);
    const int64_t width = forward_.stream_width(places.back().sublayer);
    advance(run_, target, width, dense_targets_ ? targets_ : x_, targets_);
    const std::string name = region_name(places);
    const bool done = run_.journal.done(name);  // by an earlier process: only the streams advance
    reconstruct::RegionOutcome outcome;
    if (!done) outcome = train(region, places, name);
    if (from_dense_)
      std::swap(x_, targets_);
    else
      advance(run_, region, width, x_, x_);
    if (!done) {
      for (const SublayerPlace& place : places)
        run_.save_to_scratch(place.block, blocks_.at(place.block).masters, place.sublayer);
      run_.report.regions.push_back(
          {.stage = to_string(stage_), .region = name, .outcome = outcome, .seconds = watch.seconds()});
      run_.journal.commit(name);
    }
    if (places.back().sublayer == Sublayer::kMlp) {
      release_freed_memory();
      run_.sinks.progress.advance(places.back().block + 1,
                                  done ? "" : fmt::format("error x {:.2f}", outcome.after / outcome.before));
    }
  }

  reconstruct::RegionOutcome train(StreamRegion& region, const std::vector<SublayerPlace>& places,
                                   const std::string& name) {
    const reconstruct::RegionData data{.inputs = x_,
                                       .targets = targets_,
                                       .held_out = run_.held_out,
                                       .next = next_reader(run_, places.back(), run_.plan.region.loss)};
    RandomStream random(run_.plan.seed,
                        fmt::format("order of windows, stage {}, {}", random_name(stage_), name));
    return reconstruct::descend(region, data, descent_recipe(run_, stage_, kind_of(places)), random, name);
  }

  RunContext& run_;
  Stage stage_;
  bool from_dense_;     // regions read the dense stream, and nothing else
  bool dense_targets_;  // targets come from the dense stream; otherwise from the dense region on what we read
  model::Forward forward_;
  model::Forward teacher_forward_;  // differs in the layer types of blocks, if ours lacks some
  ActivationStore x_;               // what the next region reads
  ActivationStore targets_;  // its targets; written over the dense stream where nothing else reads that
  LoadedBlocks blocks_;
  std::optional<RegionProbe> probe_;  // only if the stage may be undone
  int64_t good_ = 0;                  // blocks before this one are known to help
};

/// Operations of a step for one token, all regions added up: a forward pass and two backward. Where a region
/// starts with an RMS norm that our kernels differentiate, the gradient with respect to the stream is not
/// needed, and one product with the matrices after that norm is saved (model::linear_of_normed).
double descent_operations(const CostModel& cost, int64_t sublayers) {
  const model::Config& config = cost.config();
  double operations = 0;
  for (int64_t i = 0; i < 2 * config.blocks; ++i) {
    const SublayerShape& sublayer = cost.sublayers().at(static_cast<size_t>(i % 2));
    const bool mixture = i % 2 == 1 && config.has_experts(i / 2);
    const bool spared = i % sublayers == 0 && config.rms_norms() && !mixture &&
                        backend::of(cost.compute().device).has_kernels(cost.compute().dtype);
    const auto readers = static_cast<double>(sublayer.elements_of_first(config.width));
    operations += 3 * cost.forward(sublayer, cost.length()) - (spared ? 2.0 * readers : 0);
  }
  return operations;
}

/// Bytes of the autograd graph of one sublayer for `tokens` tokens: the stream three times in fp32, its norm
/// twice in the compute dtype, outputs and inner twice in the compute dtype; of attention, the backward pass
/// also holds the gradient of the queries in two fp32 parts.
int64_t graph_bytes(const CostModel& cost, const SublayerShape& sublayer, int64_t tokens) {
  return tokens * (cost.config().width * (3 * kFp32Bytes + 2 * cost.compute_bytes()) +
                   2 * sublayer.heads * kFp32Bytes +
                   (2 * sublayer.outputs + 2 * sublayer.inner) * cost.compute_bytes());
}

}  // namespace

int64_t restarts(const CompressPlan& plan) { return plan.on_divergence == OnDivergence::kRestart ? 2 : 0; }

reconstruct::DescentRecipe descent_recipe(const RunContext& run, const Stage& stage, std::string_view kind) {
  const RegionOptions& options = run.plan.region;
  const PeakRate peak = peak_rate(run.plan, stage);
  // A region that did not improve is retried at lower rates if its rate is the default, not the user's.
  const int64_t retries = options.learning_rate ? 0 : 2;
  return {.loss = options.loss,
          .adam = {.learning_rate = retries > 0 ? starting_rate(run.report, to_string(stage), kind, peak.rate)
                                                : peak.rate},
          .rate_unit = peak.unit,
          .epochs = options.epochs.value_or(default_epochs(run.stages)),
          .batch = options.batch,
          .freeze_norms = options.freeze_norms,
          .restarts = restarts(run.plan),
          .retries = retries};
}

void repair_regions(RunContext& run, const Stage& stage, int64_t sublayers) {
  RegionRepair(run, stage).run(sublayers);
}

/// activations: two residual streams. weights: the region's blocks as fp32 masters, the dense ones in the
/// compute dtype, and masks. optimiser: leaves in the compute dtype and their gradients; of retained weights
/// two fp32 moments and the 16 bits that complete a master. workspace: a training step or a measurement of
/// the loss, whichever is larger. Operations: two streams once through each block, and the training.
StageBudget region_budget(const CostModel& cost, const Stage& kind, int64_t sublayers) {
  StageBudget stage = cost.start(to_string(kind));
  const model::Config& config = cost.config();
  const bool single = sublayers == 1;
  const int64_t blocks = single ? 1 : std::min(sublayers / 2, config.blocks);
  const int64_t trained = single ? cost.sublayer_elements() : blocks * cost.block_elements();
  cost.add_residual_streams(stage, 2);
  stage.weights = blocks * cost.block_elements() * (kFp32Bytes + cost.compute_bytes() + 1);
  stage.optimiser =
      trained * (cost.compute_bytes() + kFp32Bytes) +
      static_cast<int64_t>(static_cast<double>(trained) * cost.density() * (2 * kFp32Bytes + kBf16Bytes));
  const int64_t tokens = cost.plan().region.batch * cost.length();
  int64_t graph = 0;
  for (const SublayerShape& sublayer : cost.sublayers()) {
    const int64_t bytes = graph_bytes(cost, sublayer, tokens);
    graph = single ? std::max(graph, bytes) : graph + blocks * bytes;
  }
  // next to the graph in fp32: the gradient of the MLP's outputs, and input, output, target, their difference
  // and two gradients of the stream
  const int64_t training = graph + tokens * (cost.mlp().outputs + 6 * config.width) * kFp32Bytes;
  // the loss: output, target, their difference and its square in fp32
  const int64_t measured = reconstruct::windows_at_a_time(cost.length()) * cost.length();
  const int64_t measuring = measured * config.width * 4 * kFp32Bytes;
  stage.workspace = std::max(training, measuring + cost.widest_pass(measured));
  const auto [seen, steps] = cost.region_training();
  const auto every = static_cast<double>(config.blocks);
  const int64_t together = single ? 1 : 2 * blocks;
  cost.spend(stage,
             every * 2 * cost.tokens() * cost.forward_block(cost.length()) +
                 seen * descent_operations(cost, together),
             0, every * steps * static_cast<double>(cost.block_elements()) * kAdamSweeps * kFp32Bytes);
  return stage;
}

}  // namespace freelunch::pipeline
