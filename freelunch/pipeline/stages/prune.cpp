#include "freelunch/pipeline/stages/prune.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/base/stopwatch.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/pipeline/group_statistics.h"
#include "freelunch/pipeline/stages/sensitivity.h"
#include "freelunch/pipeline/stages/solve.h"
#include "freelunch/pipeline/sublayer_place.h"
#include "freelunch/storage/transfer.h"

namespace freelunch::pipeline {
namespace {

using criteria::StatsNeeded;
using model::Block;
using model::Sublayer;
using model::WeightRole;

/// What of the Gram matrix's mean diagonal a criterion that factorises it adds first.
constexpr double kDamping = 0.01;

/// The mean over the matrices of a sublayer.
class MeanOutcome {
 public:
  void add(const reconstruct::RegionOutcome& one) {
    sum_.before += one.before;
    sum_.after += one.after;
    sum_.held_out_before += one.held_out_before;
    sum_.held_out_after += one.held_out_after;
    ++count_;
  }
  reconstruct::RegionOutcome mean() const {
    reconstruct::RegionOutcome mean = sum_;
    for (double* value : {&mean.before, &mean.after, &mean.held_out_before, &mean.held_out_after})
      *value /= static_cast<double>(count_);
    return mean;
  }

 private:
  reconstruct::RegionOutcome sum_;
  int64_t count_ = 0;
};

/// The tensors of a block while its masks are chosen.
struct PrunedBlock {
  Block masters;   ///< fp32, dense at first; pruned in place, sublayer by sublayer
  Block unpruned;  ///< the same before; only with statistics of the dense stream
  Block dense;     ///< in the compute dtype; only with a dense stream
};

class Pruner {
 public:
  Pruner(RunContext& run, bool solve)
      : run_(run),
        needs_(run.plan, solve),
        forward_(run.model().config(), run.compute, needs_.observe ? run.windows.size(1) : 2) {
    if (needs_.observe) streams_.emplace(run.streams(forward_, walked(), needs_.cross));
  }

  void run() {
    const int64_t blocks = run_.model().config().blocks;
    run_.sinks.progress.begin(needs_.solve ? "solve" : "prune", blocks, "blocks");
    for (int64_t b = 0; b < blocks; ++b) {
      PrunedBlock block = load(b);
      for (const Sublayer sublayer : model::kSublayers) {
        const SublayerPlace place{.block = b, .sublayer = sublayer};
        try {
          prune_sublayer(place, block);
        } catch (const Error& error) {
          if (error.kind() != ErrorKind::kNumerical) throw;
          fail(ErrorKind::kNumerical, "{}: {}", place.name(), error.what());
        }
      }
      release_freed_memory();  // the C library's heap otherwise grows by about a block's weights each time
      run_.sinks.progress.advance(b + 1, "");
    }
    run_.sinks.progress.end();
  }

 private:
  /// The weights that our stream runs through.
  model::WeightView walked() const { return needs_.dense_statistics ? run_.unpruned() : run_.current(); }

  PrunedBlock load(int64_t b) const {
    PrunedBlock block{
        .masters = run_.unpruned().block(b, run_.compute.device, at::kFloat), .unpruned = {}, .dense = {}};
    if (needs_.cross) block.dense = run_.unpruned().block(b, run_.compute.device, run_.compute.dtype);
    if (needs_.dense_statistics) block.unpruned = block.masters;
    if (!needs_.given) return block;
    for (const model::ModelTensor* tensor : run_.model().block_tensors(b)) {
      // a model that came pruned may have its own norms and biases
      if (!model::is_prunable(*tensor->role))
        block.masters.set(*tensor->role,
                          model::to_device(run_.current().tensor(*tensor), run_.compute.device));
    }
    return block;
  }

  void prune_sublayer(const SublayerPlace& place, PrunedBlock& block) {
    if (run_.journal.done(place.name())) {  // pruned by an earlier process
      if (!needs_.observe) return;
      const Block ours = walked().block(place.block, run_.compute.device, run_.compute.dtype);
      return streams_->pass(ours, block.dense, place.sublayer);
    }
    const Stopwatch watch;
    MeanOutcome outcome;
    const auto groups = model::matrix_groups(block.masters, place.sublayer);
    // what our stream runs through: each matrix is replaced, in the compute dtype, once it is pruned
    Block cast = needs_.dense_statistics ? block.unpruned : block.masters;
    for (size_t g = 0; g < groups.size(); ++g) {
      std::optional<GroupStatistics> statistics = observe(place, g, cast, block);
      const criteria::CalibrationStats stats = stats_of(statistics, place, g);
      for (const WeightRole role : groups[g]) {
        at::Tensor& W = block.masters.at(role);
        const at::Tensor W_dense = W;
        outcome.add(prune_matrix(*run_.model().find(place.block, role), W, stats, statistics));
        cast.set(role, (needs_.dense_statistics ? W_dense : W).to(run_.compute.dtype));
      }
    }
    if (streams_) streams_->advance(cast, block.dense, place.sublayer);
    run_.save_to_scratch(place.block, block.masters, place.sublayer);
    if (needs_.solve) {
      run_.report.regions.push_back(
          {.stage = "solve", .region = place.name(), .outcome = outcome.mean(), .seconds = watch.seconds()});
    }
    run_.journal.commit(place.name());
  }

  /// Statistics of what a group of matrices reads; nothing if none are needed.
  std::optional<GroupStatistics> observe(const SublayerPlace& place, size_t group, const Block& cast,
                                         const PrunedBlock& block) {
    if (!needs_.observe) return std::nullopt;
    const WeightRole first = model::matrix_groups(block.masters, place.sublayer)[group].front();
    const int64_t width = block.masters[first].size(1);
    std::optional<GroupStatistics> statistics;
    statistics.emplace(
        width, run_.compute.device,
        GroupStatistics::Wanted{.gram = needs_.gram, .cross = needs_.cross, .metric = run_.plan.sensitivity});
    streams_->for_each_input(cast, block.dense, place.sublayer, group,
                             [&](const at::Tensor& X, const at::Tensor& Y, int64_t, bool held_out) {
                               statistics->add(X, Y, held_out);
                             });
    if (needs_.gram) release_freed_memory();  // a pass and the use of its sums share no tensor sizes
    warn_if_few(*statistics, place.block, first, width);
    return statistics;
  }

  /// Statistics of an expert that few tokens reached say little.
  void warn_if_few(const GroupStatistics& statistics, int64_t b, WeightRole role, int64_t width) const {
    const int64_t tokens = statistics.tokens(false);
    if (role.expert < 0 || tokens >= width) return;
    run_.sinks.log.log(
        LogLevel::kWarning,
        fmt::format("blocks.{}.mlp.{} and what shares its input saw {} tokens, fewer than its {} inputs: {}",
                    b, model::short_name(role), tokens, width,
                    tokens == 0 ? "pruned by magnitude, not repaired" : "kept closer to the dense weights"));
  }

  /// What the criterion may look at.
  criteria::CalibrationStats stats_of(const std::optional<GroupStatistics>& statistics,
                                      const SublayerPlace& place, size_t group) const {
    if (!statistics) return {};
    if (statistics->tokens(false) == 0) return statistics->stats_of_no_tokens(needs_.stats);
    double damping = kDamping;
    statistics->check_finite();
    const criteria::CalibrationStats stats = statistics->stats(needs_.stats, damping);
    if (damping > 1.1 * kDamping) {
      run_.sinks.log.log(LogLevel::kWarning,
                         fmt::format("{}, group {}: {} needed a damping of {:g} to factorise the Gram matrix",
                                     place.name(), group, needs_.criterion.name, damping));
    }
    return stats;
  }

  /// Replaces W (out, in) fp32, dense, by the pruned weights, fitted if the stage solves.
  reconstruct::RegionOutcome prune_matrix(const model::ModelTensor& tensor, at::Tensor& W,
                                          const criteria::CalibrationStats& stats,
                                          std::optional<GroupStatistics>& statistics) {
    at::Tensor metric;
    if (run_.plan.sensitivity && needs_.solve) {
      metric = reconstruct::output_metric(
          model::to_device(run_.dense_scratch.get(sensitivity_name(tensor.name)), run_.compute.device),
          run_.plan.sensitivity_damping);
    }
    criteria::CalibrationStats weighed = stats;
    if (run_.plan.sensitivity_masks) weighed.row_weights = metric.diagonal().sqrt();
    const criteria::Pruned pruned = needs_.given ? given(tensor) : choose(tensor, W, weighed);
    if (tensor.role->expert >= 0 && statistics && !needs_.given)
      run_.report.tensors.back().tokens = statistics->tokens(false);
    if (!needs_.solve) {
      W = pruned.W;
      return {};
    }
    const SolvedMatrix solved = solve_matrix(run_, tensor, W, pruned, *statistics, metric);
    W = solved.W;
    return solved.outcome;
  }

  /// The mask and the weights that the model brought.
  criteria::Pruned given(const model::ModelTensor& tensor) const {
    return {.mask = {model::to_device(run_.scratch.get(model::mask_name(tensor.name)), run_.compute.device)},
            .W = model::to_device(run_.current().tensor(tensor), run_.compute.device)};
  }

  /// Chooses a mask by the criterion and records it.
  criteria::Pruned choose(const model::ModelTensor& tensor, const at::Tensor& W,
                          criteria::CalibrationStats stats) const {
    RandomStream random(run_.plan.seed, "mask " + tensor.name);
    stats.random = &random;
    const sparsity::Pattern pattern = run_.patterns.of(tensor.name, tensor.block);
    criteria::Pruned pruned = criteria::prune(needs_.criterion, W, stats, pattern, needs_.group);
    run_.scratch.put(model::mask_name(tensor.name), pruned.mask.retained);
    if (needs_.criterion.moves_weights()) run_.scratch.put(model::pruned_name(tensor.name), pruned.W);
    run_.report.tensors.push_back(
        {.name = tensor.name,
         .shape = tensor.shape,
         .zeros = 0,
         .expected_zeros = sparsity::expected_zeros(W.size(0), W.size(1), pattern, needs_.group),
         .elements = W.numel(),
         .pattern = sparsity::to_string(pattern)});
    return pruned;
  }

  RunContext& run_;
  PruneNeeds needs_;
  model::Forward forward_;
  std::optional<StreamPair> streams_;
};

}  // namespace

PruneNeeds::PruneNeeds(const CompressPlan& plan, bool with_solve)
    : criterion(criterion_of(plan)),
      stats(plan.dense.empty() ? criterion.needs : StatsNeeded::kNothing),
      group(plan.group.value_or(criterion.group)),
      given(!plan.dense.empty()),
      solve(with_solve),
      observe(solve || stats != StatsNeeded::kNothing),
      gram(solve || stats == StatsNeeded::kGram),
      cross(solve && blends_dense_stream(plan)),
      dense_statistics(plan.statistics == StatisticsSource::kDense) {}

void prune(RunContext& run, bool solve) { Pruner(run, solve).run(); }

}  // namespace freelunch::pipeline
