#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/pipeline/group_statistics.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/pipeline/stream_walk.h"
#include "freelunch/storage/transfer.h"

namespace freelunch::pipeline {
namespace {

using criteria::StatsNeeded;
using model::Block;
using model::Forward;
using model::Sublayer;
using model::WeightRole;

class Pruner {
 public:
  Pruner(RunContext& run, MaskSource masks, bool solve)
      : run_(run),
        masks_(masks),
        solve_(solve),
        criterion_(criteria::criterion_named(run.plan.criterion)),
        group_(run.plan.group.value_or(criterion_.group)),
        needs_(masks == MaskSource::kCriterion ? criterion_.needs : StatsNeeded::kNothing),
        observe_(solve || needs_ != StatsNeeded::kNothing),
        gram_(solve || needs_ == StatsNeeded::kGram),
        dense_statistics_(run.plan.statistics == StatisticsSource::kDense),
        cross_(solve && std::any_of(run.plan.grid.blends.begin(), run.plan.grid.blends.end(),
                                    [](double b) { return b != 0; })),
        forward_(run.model().config(), run.compute, observe_ ? run.windows.size(1) : 2) {
    if (!observe_) return;
    const model::WeightView read = dense_statistics_ ? run.dense() : run.current();
    walk_.emplace(forward_, run.activations, run.embed(read));
    if (cross_) dense_walk_.emplace(forward_, run.activations, run.embed(run.dense()));
  }

  void run() {
    const int64_t blocks = run_.model().config().blocks;
    run_.sinks.progress.begin(solve_ ? "solve" : "prune", blocks, "blocks");
    for (int64_t b = 0; b < blocks; ++b) {
      // fp32 masters become pruned in place, sublayer by sublayer; `dense` stays for the dense stream
      Block block = run_.dense().block(b, run_.compute.device, at::kFloat);
      Block dense;
      if (cross_) dense = run_.dense().block(b, run_.compute.device, run_.compute.dtype);
      if (dense_statistics_) unpruned_ = block;
      if (masks_ == MaskSource::kGiven) take_small_tensors(b, block);
      for (const Sublayer sublayer : model::kSublayers) {
        const std::string name = fmt::format("blocks.{}.{}", b, model::name(sublayer));
        try {
          prune_sublayer(b, sublayer, name, block, dense);
        } catch (const Error& error) {
          if (error.kind() != ErrorKind::kNumerical) throw;
          fail(ErrorKind::kNumerical, "{}: {}", name, error.what());
        }
      }
      release_freed_memory();  // the C library's heap otherwise grows by about a block's weights each time
      run_.sinks.progress.advance(b + 1, "");
    }
    run_.sinks.progress.end();
  }

 private:
  /// A model pruned elsewhere may hold norms and biases of its own.
  void take_small_tensors(int64_t b, Block& block) const {
    for (const model::ModelTensor* tensor : run_.model().block_tensors(b)) {
      if (!model::is_prunable(*tensor->role))
        block.set(*tensor->role, model::to_device(run_.current().tensor(*tensor), run_.compute.device));
    }
  }

  void prune_sublayer(int64_t b, Sublayer sublayer, const std::string& name, Block& block,
                      const Block& dense) {
    if (run_.journal.done(name)) return pass_sublayer(b, sublayer, dense);
    const auto start = std::chrono::steady_clock::now();
    reconstruct::RegionOutcome outcome;
    int64_t matrices = 0;
    const auto groups = model::matrix_groups(block, sublayer);
    Block cast =
        dense_statistics_
            ? unpruned_
            : block;  // what the walk runs on: each matrix replaced, in the compute dtype, once it is pruned
    for (size_t g = 0; g < groups.size(); ++g) {
      std::optional<GroupStatistics> statistics;
      if (observe_) {
        statistics.emplace(
            block[groups[g][0]].size(1), run_.compute.device,
            GroupStatistics::Wanted{.gram = gram_, .cross = cross_, .metric = run_.plan.sensitivity});
        for_each_batch(run_.windows.size(0), run_.held_out, [&](int64_t i, int64_t n, bool held_out) {
          const at::Tensor tokens = walk_->tokens(cast, sublayer, g, i, n);
          const at::Tensor X = walk_->input(cast, sublayer, g, i, n, tokens);
          const at::Tensor Y = cross_ ? dense_walk_->input(dense, sublayer, g, i, n, tokens) : at::Tensor();
          statistics->add(X, Y, held_out);
        });
        if (gram_) release_freed_memory();  // a pass and what is done with its sums share no tensor sizes
      }
      if (observe_) warn_if_few(*statistics, b, groups[g][0], block[groups[g][0]].size(1));
      const criteria::CalibrationStats stats = evidence_of(statistics, b, sublayer, g);
      for (const WeightRole role : groups[g]) {
        const at::Tensor W_dense = block[role];
        const reconstruct::RegionOutcome one = prune_matrix(b, role, block.at(role), stats, statistics);
        outcome.before += one.before;
        outcome.after += one.after;
        outcome.held_out_before += one.held_out_before;
        outcome.held_out_after += one.held_out_after;
        cast.set(role, (dense_statistics_ ? W_dense : block[role]).to(run_.compute.dtype));
        ++matrices;
      }
    }
    if (observe_) {
      for_each_batch(run_.windows.size(0), run_.held_out, [&](int64_t i, int64_t n, bool) {
        walk_->advance(cast, sublayer, i, n);
        if (cross_) dense_walk_->advance(dense, sublayer, i, n);
      });
      walk_->end_sublayer();
      if (cross_) dense_walk_->end_sublayer();
    }
    run_.save_to_scratch(b, block, sublayer);
    if (solve_) report(name, outcome, matrices, start);
    run_.journal.commit(name);
  }

  void report(const std::string& name, reconstruct::RegionOutcome outcome, int64_t matrices,
              std::chrono::steady_clock::time_point start) {
    for (double* value :
         {&outcome.before, &outcome.after, &outcome.held_out_before, &outcome.held_out_after}) {
      *value /= static_cast<double>(matrices);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    run_.report.regions.push_back({.stage = "solve", .region = name, .outcome = outcome, .seconds = seconds});
  }

  /// Past a sublayer that an earlier process pruned.
  void pass_sublayer(int64_t b, Sublayer sublayer, const Block& dense) {
    if (!observe_) return;
    const model::WeightView read = dense_statistics_ ? run_.dense() : run_.current();
    const Block block = read.block(b, run_.compute.device, run_.compute.dtype);
    for_each_batch(run_.windows.size(0), run_.held_out, [&](int64_t i, int64_t n, bool) {
      walk_->pass(block, sublayer, i, n);
      if (cross_) dense_walk_->pass(dense, sublayer, i, n);
    });
    walk_->end_sublayer();
    if (cross_) dense_walk_->end_sublayer();
  }

  /// An expert that few tokens reached has statistics that say little.
  void warn_if_few(const GroupStatistics& statistics, int64_t b, WeightRole role, int64_t width) const {
    const int64_t tokens = statistics.tokens(false);
    if (role.expert < 0 || tokens >= width) return;
    run_.sinks.log.log(
        LogLevel::kWarning,
        fmt::format("blocks.{}.mlp.{} and what shares its input saw {} tokens, fewer than its {} inputs: {}",
                    b, model::short_name(role), tokens, width,
                    tokens == 0 ? "pruned by magnitude, not repaired" : "kept closer to the dense weights"));
  }

  criteria::CalibrationStats evidence_of(const std::optional<GroupStatistics>& statistics, int64_t b,
                                         Sublayer sublayer, size_t group) const {
    if (!statistics) return {};
    if (statistics->tokens(false) == 0) return statistics->stats_of_no_tokens(needs_);
    double damping = 0.01;
    statistics->check_finite();
    const criteria::CalibrationStats stats = statistics->stats(needs_, damping);
    if (damping > 0.011) {
      run_.sinks.log.log(
          LogLevel::kWarning,
          fmt::format("blocks.{}.{}, group {}: sparsegpt needed a damping of {:g} to factorise "
                      "the Gram matrix",
                      b, model::name(sublayer), group, damping));
    }
    return stats;
  }

  criteria::Pruned choose(const model::ModelTensor& tensor, const at::Tensor& W,
                          criteria::CalibrationStats stats) const {
    if (masks_ == MaskSource::kGiven) {
      return {
          .mask = {model::to_device(run_.scratch.get(model::mask_name(tensor.name)), run_.compute.device)},
          .W = model::to_device(run_.current().tensor(tensor), run_.compute.device)};
    }
    RandomStream random(run_.plan.seed, "mask " + tensor.name);
    stats.random = &random;
    const sparsity::Pattern pattern = run_.patterns.of(tensor.name, tensor.block);
    criteria::Pruned pruned = criteria::prune(criterion_, W, stats, pattern, group_);
    run_.scratch.put(model::mask_name(tensor.name), pruned.mask.retained);
    if (criterion_.moves_weights()) run_.scratch.put(model::pruned_name(tensor.name), pruned.W);
    run_.report.tensors.push_back(
        {.name = tensor.name,
         .shape = tensor.shape,
         .zeros = 0,
         .expected_zeros = sparsity::expected_zeros(W.size(0), W.size(1), pattern, group_),
         .elements = W.numel(),
         .pattern = sparsity::to_string(pattern)});
    return pruned;
  }

  reconstruct::RegionOutcome prune_matrix(int64_t b, WeightRole role, at::Tensor& W,
                                          const criteria::CalibrationStats& stats,
                                          std::optional<GroupStatistics>& statistics) {
    const model::ModelTensor& tensor = *run_.model().find(b, role);
    at::Tensor metric;
    if (run_.plan.sensitivity && solve_) {
      metric = reconstruct::output_metric(
          model::to_device(run_.dense_scratch.get(sensitivity_name(tensor.name)), run_.compute.device),
          run_.plan.sensitivity_damping);
    }
    criteria::CalibrationStats weighed = stats;
    if (run_.plan.sensitivity_masks) weighed.row_weights = metric.diagonal().sqrt();
    const criteria::Pruned pruned = choose(tensor, W, weighed);
    if (role.expert >= 0 && statistics && masks_ == MaskSource::kCriterion)
      run_.report.tensors.back().tokens = statistics->tokens(false);
    reconstruct::RegionOutcome outcome;
    if (!solve_) {
      W = pruned.W;
      return outcome;
    }
    if (statistics->tokens(false) == 0) {
      W = pruned.W;
      return outcome;
    }
    const reconstruct::Moments& seen = statistics->moments(false);
    reconstruct::ClosedFormSettings settings{.iterations = run_.plan.grid.iterations};
    const bool can_choose = run_.held_out > 0 && statistics->tokens(true) > 0;
    const reconstruct::Moments& held = can_choose ? statistics->moments(true) : seen;
    if (can_choose) settings = reconstruct::choose_settings(W, pruned.mask, seen, held, run_.plan.grid);
    if (role.expert >= 0) {  // the fewer tokens an expert saw, the closer it stays
      const double scarcity = static_cast<double>(W.size(1)) / static_cast<double>(statistics->tokens(false));
      settings.lambda *= std::max(1.0, scarcity);
    }
    at::Tensor solved = reconstruct::solve(W, pruned.mask, seen, settings);
    if (metric.defined())
      solved = reconstruct::solve_weighted(solved, W, pruned.mask, seen, metric, settings);
    const reconstruct::RelativeError on_seen(W, seen, metric);
    const reconstruct::RelativeError on_held(W, held, metric);
    outcome = {.before = on_seen.of(pruned.W),
               .after = on_seen.of(solved),
               .held_out_before = on_held.of(pruned.W),
               .held_out_after = on_held.of(solved)};
    run_.sinks.log.log(LogLevel::kDebug, fmt::format("{}: lambda {} beta {} held-out error {:.4f} -> {:.4f}",
                                                     tensor.name, settings.lambda, settings.blend,
                                                     outcome.held_out_before, outcome.held_out_after));
    // keep-best: a matrix that the closed form made worse on held-out windows stays as it was pruned
    const bool better = outcome.held_out_after < outcome.held_out_before;
    W = better ? solved : pruned.W;
    if (!better) outcome.after = outcome.before, outcome.held_out_after = outcome.held_out_before;
    return outcome;
  }

  RunContext& run_;
  MaskSource masks_;
  bool solve_;
  const criteria::Criterion& criterion_;
  sparsity::Group group_;
  StatsNeeded needs_;
  bool observe_;
  bool gram_;
  bool dense_statistics_;
  bool cross_;
  Forward forward_;
  std::optional<StreamWalk> walk_, dense_walk_;
  Block unpruned_;
};

}  // namespace

void prune(RunContext& run, MaskSource masks, bool solve) { Pruner(run, masks, solve).run(); }

}  // namespace freelunch::pipeline
