#include "freelunch/pipeline/stages/allocation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "freelunch/backend/backend.h"
#include "freelunch/base/error.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {
namespace {

using model::Block;
using model::Sublayer;

constexpr double kOutlier = 5;  // times the mean score: M of the OWL paper

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

/// |W_ij| ||X_j||, fp32, of each matrix of a sublayer, from the calibration windows of the stream.
std::vector<at::Tensor> sublayer_scores(const RunContext& run, const Block& block, Sublayer sublayer,
                                        StreamPair& stream) {
  std::vector<at::Tensor> scores;
  const auto groups = model::matrix_groups(block, sublayer);
  for (size_t g = 0; g < groups.size(); ++g) {
    statistics::ColumnNorms norms(block[groups[g][0]].size(1), run.compute.device);
    stream.for_each_input(block, {}, sublayer, g,
                          [&](const at::Tensor& X, const at::Tensor&, int64_t, bool held_out) {
                            if (!held_out && X.numel() > 0) norms.add(X);
                          });
    for (const model::WeightRole role : groups[g])
      scores.push_back(block[role].to(at::kFloat).abs().mul_(norms.norms()));
  }
  return scores;
}

}  // namespace

std::vector<double> owl_allocation(RunContext& run) {
  const at::NoGradGuard no_grad;
  const model::Config& config = run.model().config();
  const model::Forward forward(config, run.compute, run.windows.size(1));
  StreamPair stream = run.streams(forward, run.unpruned(), /*with_dense=*/false);
  std::vector<double> outliers, weights;
  run.sinks.progress.begin("outliers", config.blocks, "blocks");
  for (int64_t b = 0; b < config.blocks; ++b) {
    const Block block = run.unpruned().block(b, run.compute.device, run.compute.dtype);
    std::vector<at::Tensor> scores;
    for (const Sublayer sublayer : model::kSublayers) {
      for (at::Tensor& s : sublayer_scores(run, block, sublayer, stream)) scores.push_back(std::move(s));
      stream.advance(block, {}, sublayer);
    }
    outliers.push_back(outlier_share(scores));
    if (!std::isfinite(outliers.back()))
      fail(ErrorKind::kNumerical, "owl: the activations of blocks.{} are not finite", b);
    double elements = 0;
    for (const at::Tensor& s : scores) elements += static_cast<double>(s.numel());
    weights.push_back(elements);
    run.sinks.progress.advance(b + 1, fmt::format("{:.2f} %", 100 * outliers.back()));
  }
  run.sinks.progress.end();
  return sparsity::owl_fractions(outliers, weights, sparsity::zero_fraction(pattern_of(run.plan)));
}

/// One residual stream and the inputs of second groups; a block in the compute dtype and its fp32 scores; one
/// pass. Operations: one forward pass of all windows.
StageBudget allocation_budget(const CostModel& cost) {
  StageBudget stage = cost.start("allocate");
  cost.add_residual_streams(stage, 1);
  cost.add_streams(stage, 1, std::max(cost.attention().inner, cost.mlp().inner), cost.compute().dtype);
  stage.weights = cost.block_elements() * (cost.compute_bytes() + kFp32Bytes);
  stage.workspace = cost.widest_pass(kWindowsPerPass * cost.length());
  const double tokens = cost.tokens() * static_cast<double>(cost.config().blocks);
  cost.spend(stage, tokens * cost.forward_block(cost.length()), 0, 0);
  return stage;
}

}  // namespace freelunch::pipeline
