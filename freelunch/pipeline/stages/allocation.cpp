#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/pipeline/stream_walk.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {
namespace {

using model::Block;
using model::Sublayer;

constexpr double kOutlier = 5;  // times the mean score

/// The share of a block's scores |W_ij| ||X_j|| above kOutlier times their mean.
double outlier_share(const std::vector<at::Tensor>& scores) {
  double sum = 0;
  double count = 0;
  for (const at::Tensor& s : scores) {
    sum += s.sum(backend::of(s).sum_dtype()).item<double>();
    count += static_cast<double>(s.numel());
  }
  double above = 0;
  for (const at::Tensor& s : scores) above += s.gt(kOutlier * sum / count).sum().item<double>();
  return above / count;
}

}  // namespace

std::vector<double> owl_allocation(RunContext& run) {
  const at::NoGradGuard no_grad;
  const model::Config& config = run.model().config();
  const model::Forward forward(config, run.compute, run.windows.size(1));
  StreamWalk walk(forward, run.activations, run.embed(run.dense()));
  std::vector<double> outliers, weights;
  run.sinks.progress.begin("outliers", config.blocks, "blocks");
  for (int64_t b = 0; b < config.blocks; ++b) {
    const Block block = run.dense().block(b, run.compute.device, run.compute.dtype);
    std::vector<at::Tensor> scores;
    double elements = 0;
    for (const Sublayer sublayer : model::kSublayers) {
      const auto groups = model::matrix_groups(block, sublayer);
      for (size_t g = 0; g < groups.size(); ++g) {
        statistics::ColumnNorms norms(block[groups[g][0]].size(1), run.compute.device);
        for_each_batch(run.windows.size(0), run.held_out, [&](int64_t i, int64_t n, bool held_out) {
          const at::Tensor X = walk.input(block, sublayer, g, i, n);
          if (!held_out && X.numel() > 0) norms.add(X);
        });
        for (const model::WeightRole role : groups[g]) {
          scores.push_back(block[role].to(at::kFloat).abs().mul_(norms.norms()));
          elements += static_cast<double>(scores.back().numel());
        }
      }
      for_each_batch(run.windows.size(0), run.held_out,
                     [&](int64_t i, int64_t n, bool) { walk.advance(block, sublayer, i, n); });
      walk.end_sublayer();
    }
    outliers.push_back(outlier_share(scores));
    if (!std::isfinite(outliers.back()))
      fail(ErrorKind::kNumerical, "owl: the activations of blocks.{} are not finite", b);
    weights.push_back(elements);
    run.sinks.progress.advance(b + 1, fmt::format("{:.2f} %", 100 * outliers.back()));
  }
  run.sinks.progress.end();
  return sparsity::owl_fractions(outliers, weights, sparsity::zero_fraction(run.plan.pattern));
}

}  // namespace freelunch::pipeline
