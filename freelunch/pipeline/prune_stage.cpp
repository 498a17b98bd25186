#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>

#include "base/interrupt.h"
#include "pipeline/compression.h"
#include "pipeline/memory.h"
#include "statistics/gram.h"

namespace freelunch::pipeline {
namespace {

using model::Block;
using model::Forward;
using model::Half;
using model::Part;

constexpr int64_t kBatch = 4;  // windows at a time

/// Second moments of one group's input over the windows trained on and over those held out.
class GroupStatistics {
 public:
  GroupStatistics(int64_t width, at::Device device, bool gram, bool cross)
      : gram_(gram), cross_(cross), norms_(width, device) {
    if (!gram) return;
    for (Side& side : sides_) {
      side.H.emplace(width, device);
      if (!cross) continue;
      side.C.emplace(width, device);
      side.D.emplace(width, device);
    }
  }

  /// X, Y (windows, l, width): the pruned and the dense stream's inputs; Y undefined without cross.
  void add(const at::Tensor& X, const at::Tensor& Y, bool held_out) {
    if (!gram_) {
      if (!held_out) norms_.add(X);
      return;
    }
    Side& side = sides_[held_out ? 1 : 0];
    side.H->add(X);
    if (!cross_) return;
    side.C->add(X, Y);
    side.D->add(Y);
  }

  at::Tensor column_norms() const {
    return gram_ ? sides_[0].H->sum().diagonal().clamp_min(0).sqrt().to(at::kFloat) : norms_.norms();
  }

  reconstruct::Moments moments(bool held_out) const {
    const Side& side = sides_[held_out ? 1 : 0];
    reconstruct::Moments moments{.H = side.H->sum().to(at::kFloat), .C = {}, .D = {}};
    if (cross_) {
      moments.C = side.C->sum().to(at::kFloat);
      moments.D = side.D->sum().to(at::kFloat);
    }
    return moments;
  }

 private:
  struct Side {
    std::optional<statistics::Gram> H, D;
    std::optional<statistics::CrossGram> C;
  };
  bool gram_, cross_;
  statistics::ColumnNorms norms_;
  std::array<Side, 2> sides_;
};

class Pruner {
 public:
  Pruner(Compression& run, bool solve)
      : run_(run),
        solve_(solve),
        criterion_(criteria::criterion_named(run.plan.criterion)),
        group_(run.plan.group.value_or(criterion_.group)),
        observe_(solve || criterion_.needs_column_norms),
        cross_(solve && std::any_of(run.plan.grid.betas.begin(), run.plan.grid.betas.end(),
                                    [](double b) { return b != 0; })),
        forward_(run.model().config(), run.compute, observe_ ? run.windows.size(1) : 2) {
    if (!observe_) return;
    x_ = run.dense().embed(run.windows, run.compute.device);
    if (cross_) dense_x_ = x_.clone();
  }

  void run() {
    const int64_t blocks = run_.model().config().blocks;
    run_.sinks.progress.begin(solve_ ? "solve" : "prune", blocks, "blocks");
    for (int64_t b = 0; b < blocks; ++b) {
      // fp32 masters become pruned in place, half by half; `dense` stays for the dense stream
      Block block = run_.dense().block(b, run_.compute.device, at::kFloat);
      Block dense;
      if (cross_) dense = run_.dense().block(b, run_.compute.device, run_.compute.dtype);
      for (const Half half : model::kHalves) prune_half(b, half, block, dense);
      release_freed_memory();  // the C library's heap otherwise grows by about a block's weights each time
      run_.sinks.progress.advance(b + 1, "");
    }
    run_.sinks.progress.end();
  }

 private:
  /// The held-out windows come last; batches do not mix the two kinds.
  template <typename Visit>
  void for_each_batch(Visit visit) const {
    const int64_t n = run_.windows.size(0);
    const int64_t trained = n - run_.held_out;
    for (int64_t i = 0; i < n;) {
      throw_if_interrupted();
      const int64_t end = std::min(i + kBatch, i < trained ? trained : n);
      visit(i, end - i, i >= trained);
      i = end;
    }
  }

  void prune_half(int64_t b, Half half, Block& block, const Block& dense) {
    const auto start = std::chrono::steady_clock::now();
    reconstruct::RegionOutcome outcome;
    int64_t matrices = 0;
    const auto groups = model::matrix_groups(half);
    at::Tensor inner;  // what the last matrix reads, kept so that the half runs once
    at::Tensor dense_inner;
    Block cast = block;  // in the compute dtype, each matrix replaced once it is pruned
    for (size_t g = 0; g < groups.size(); ++g) {
      std::optional<GroupStatistics> statistics;
      if (observe_) {
        statistics.emplace(block[groups[g][0]].size(1), run_.compute.device, solve_, cross_);
        if (g == 0)
          observe_normed(half, block, dense, *statistics);
        else
          observe_inner(half, cast, dense, *statistics, inner, dense_inner);
      }
      for (const Part part : groups[g]) {
        const reconstruct::RegionOutcome one = prune_matrix(b, part, block[part], statistics);
        outcome.before += one.before;
        outcome.after += one.after;
        outcome.held_before += one.held_before;
        outcome.held_after += one.held_after;
        cast[part] = block[part].to(run_.compute.dtype);
        ++matrices;
      }
    }
    if (observe_) advance(half, cast, dense, inner, dense_inner);
    run_.keep(b, block, half);
    if (!solve_) return;
    for (double* value : {&outcome.before, &outcome.after, &outcome.held_before, &outcome.held_after}) {
      *value /= static_cast<double>(matrices);
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    run_.report.regions.push_back({.stage = "solve",
                                   .region = fmt::format("blocks.{}.{}", b, model::name(half)),
                                   .outcome = outcome,
                                   .seconds = seconds});
  }

  void observe_normed(Half half, const Block& block, const Block& dense, GroupStatistics& statistics) {
    const at::NoGradGuard no_grad;
    for_each_batch([&](int64_t i, int64_t n, bool held_out) {
      const at::Tensor X = forward_.normed(block, half, x_.narrow(0, i, n));
      const at::Tensor Y = cross_ ? forward_.normed(dense, half, dense_x_.narrow(0, i, n)) : at::Tensor();
      statistics.add(X, Y, held_out);
    });
  }

  void observe_inner(Half half, const Block& cast, const Block& dense, GroupStatistics& statistics,
                     at::Tensor& inner, at::Tensor& dense_inner) {
    const at::NoGradGuard no_grad;
    const auto run = [&](const Block& block, const at::Tensor& x, at::Tensor& all, int64_t i, int64_t n) {
      const at::Tensor y = forward_.inner(block, half, forward_.normed(block, half, x.narrow(0, i, n)));
      if (!all.defined()) all = at::empty({x.size(0), x.size(1), y.size(2)}, y.options());
      all.narrow(0, i, n).copy_(y);
      return y;
    };
    for_each_batch([&](int64_t i, int64_t n, bool held_out) {
      const at::Tensor X = run(cast, x_, inner, i, n);
      const at::Tensor Y = cross_ ? run(dense, dense_x_, dense_inner, i, n) : at::Tensor();
      statistics.add(X, Y, held_out);
    });
  }

  void advance(Half half, const Block& cast, const Block& dense, const at::Tensor& inner,
               const at::Tensor& dense_inner) {
    const at::NoGradGuard no_grad;
    const auto run = [&](const Block& block, at::Tensor& x, const at::Tensor& all, int64_t i, int64_t n) {
      at::Tensor part = x.narrow(0, i, n);
      part.copy_(forward_.add_output(block, half, part, all.narrow(0, i, n)));
    };
    for_each_batch([&](int64_t i, int64_t n, bool) {
      run(cast, x_, inner, i, n);
      if (cross_) run(dense, dense_x_, dense_inner, i, n);
    });
  }

  reconstruct::RegionOutcome prune_matrix(int64_t b, Part part, at::Tensor& W,
                                          const std::optional<GroupStatistics>& statistics) {
    const model::ModelTensor& tensor = *run_.model().find(b, part);
    sparsity::check_width(run_.plan.pattern, W.size(1), tensor.name);
    RandomStream random(run_.plan.seed, "mask " + tensor.name);
    criteria::Evidence evidence{.column_norms = {}, .random = &random};
    if (statistics) evidence.column_norms = statistics->column_norms();
    const sparsity::Mask mask = criteria::choose(criterion_, W, evidence, run_.plan.pattern, group_);
    run_.store.put(model::mask_name(tensor.name), mask.kept);
    const at::Tensor pruned = W * mask.kept;
    run_.report.tensors.push_back(
        {.name = tensor.name,
         .shape = tensor.shape,
         .zeros = 0,
         .expected_zeros = sparsity::expected_zeros(W.size(0), W.size(1), run_.plan.pattern, group_),
         .elements = W.numel(),
         .pattern = sparsity::to_string(run_.plan.pattern)});
    reconstruct::RegionOutcome outcome;
    if (!solve_) {
      W = pruned;
      return outcome;
    }
    const reconstruct::Moments seen = statistics->moments(false);
    reconstruct::ClosedFormSettings settings{.iterations = run_.plan.grid.iterations};
    const bool can_choose = run_.held_out > 0;
    const reconstruct::Moments held = can_choose ? statistics->moments(true) : seen;
    if (can_choose) settings = reconstruct::choose_settings(W, mask, seen, held, run_.plan.grid);
    const at::Tensor solved = reconstruct::solve(W, mask, seen, settings);
    outcome = {.before = reconstruct::relative_error(pruned, W, seen),
               .after = reconstruct::relative_error(solved, W, seen),
               .held_before = reconstruct::relative_error(pruned, W, held),
               .held_after = reconstruct::relative_error(solved, W, held)};
    run_.sinks.log.log(LogLevel::kDebug,
                       fmt::format("{}: lambda {} beta {} held-out error {:.4f} -> {:.4f}", tensor.name,
                                   settings.lambda, settings.beta, outcome.held_before, outcome.held_after));
    // keep-best: a matrix that the closed form made worse on held-out windows stays as it was pruned
    const bool better = outcome.held_after < outcome.held_before;
    W = better ? solved : pruned;
    if (!better) outcome.after = outcome.before, outcome.held_after = outcome.held_before;
    return outcome;
  }

  Compression& run_;
  bool solve_;
  const criteria::Criterion& criterion_;
  sparsity::Group group_;
  bool observe_;
  bool cross_;
  Forward forward_;
  at::Tensor x_, dense_x_;  // (windows, l, d) fp32: the pruned and the dense residual stream
};

}  // namespace

void prune(Compression& run, bool solve) { Pruner(run, solve).run(); }

}  // namespace freelunch::pipeline
