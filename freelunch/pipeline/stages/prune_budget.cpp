#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/backend/backend.h"
#include "freelunch/closed_form/row_solver.h"
#include "freelunch/pipeline/stages/prune.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {
namespace {

// Operations of a sum of x x^T for a token, in width^2. A symmetric sum takes 2, of which symmetry saves
// half; the squares on the diagonal of the stored panels are computed whole (statistics/gram.h), a quarter
// more at usual widths. A cross sum takes 2.
constexpr double kSymmetricSum = 1.25;
constexpr double kCrossSum = 2;

/// fp32 numbers read or written for each weight to choose its mask: scores, their order and the mask, a dozen
/// times. An estimate; it decides no memory.
constexpr double kMaskSweeps = 12;

/// Settings of the grid that are tried: the search over lambda descends from the middle of the list, so it
/// visits about four of them (closed_form/closed_form.h).
constexpr size_t kTriedLambdas = 4;

/// The widest input of a group of matrices.
int64_t widest(const CostModel& cost) {
  return std::max({cost.config().width, cost.attention().inner, cost.mlp().inner});
}

/// Bytes of the sums of one group, of calibration windows and of held-out windows: a Gram matrix each, and
/// with a dense stream its Gram matrix and the cross-Gram matrix.
int64_t sum_bytes(const CostModel& cost, const PruneNeeds& needs) {
  if (!needs.gram) return 0;
  const int64_t width = widest(cost);
  const int64_t symmetric = statistics::Gram::bytes(width, backend::of(cost.compute().device).sum_dtype()) +
                            statistics::Gram::bytes(width, statistics::kHeldOutSums);
  return needs.cross ? 2 * symmetric + 2 * width * width * kFp64Bytes : symmetric;
}

/// Bytes to choose a mask: scores, their sorted copy and order in fp32; to factorise a Gram matrix, four
/// copies in fp64.
int64_t choosing_bytes(const CostModel& cost, const PruneNeeds& needs) {
  const int64_t width = widest(cost);
  return cost.largest_matrix() * 3 * kFp32Bytes +
         (needs.stats == criteria::StatsNeeded::kGram ? 4 * width * width * kFp64Bytes : 0);
}

/// Bytes of the solver, without the sums, which are freed as their fp32 moments are made. Where nothing but
/// the split of H is read, H and its split, 3 fp32 squares, and later the splits of both window sets with
/// weights, target, residual, direction and image in fp32. Otherwise the fp32 moments of both sets, the split
/// and one temporary square.
int64_t solving_bytes(const CostModel& cost, const PruneNeeds& needs) {
  const int64_t square = widest(cost) * widest(cost) * kFp32Bytes;
  const int64_t vectors = cost.largest_matrix() * 5 * kFp32Bytes;
  const int64_t moments = needs.cross ? 3 : 1;
  const bool split_alone =
      !needs.cross && !cost.plan().sensitivity && reconstruct::SplitGram::serves(cost.compute().device);
  return (split_alone ? std::max(3 * square, 2 * square + vectors) : (2 * moments + 2) * square + vectors) -
         sum_bytes(cost, needs);
}

/// Bytes of a pass with its observations: inputs in both of a GEMM's layouts, and, where the GEMM runs in
/// fp32, a panel of products with its fp64 copy.
int64_t observing_bytes(const CostModel& cost, const PruneNeeds& needs) {
  if (!needs.observe) return 0;
  const int64_t tokens = kWindowsPerPass * cost.length();
  const int64_t width = widest(cost);
  int64_t bytes = cost.widest_pass(tokens);
  if (needs.gram) {
    bytes += 2 * tokens * width * cost.compute_bytes();
    if (cost.compute_bytes() == kFp32Bytes) bytes += width * width / 4 * (kFp32Bytes + kFp64Bytes);
  }
  return bytes;
}

/// Operations of one block, in the compute dtype and in fp32.
struct Operations {
  double compute = 0;
  double fp32 = 0;
};

/// Of the sublayer's forward passes, the sums of its two groups, and the solver on their matrices: a product
/// with H for each row and iteration, and the same for the rows that settings are tried on.
void add_operations(Operations& total, const CostModel& cost, const PruneNeeds& needs,
                    const SublayerShape& sublayer) {
  const reconstruct::ClosedFormGrid& grid = cost.plan().grid;
  const bool split = reconstruct::SplitGram::serves(cost.compute().device);
  double& sums = split && !needs.cross && cost.compute().dtype == at::kBFloat16 ? total.compute : total.fp32;
  double& steps = split ? total.compute : total.fp32;
  const double tokens = needs.observe ? cost.tokens() : 0;
  const double a_sum = needs.cross ? 2 * kSymmetricSum + kCrossSum : kSymmetricSum;
  total.compute += tokens * (needs.cross ? 2 : 1) * cost.forward(sublayer, cost.length());
  const int64_t width = cost.config().width;
  for (const int64_t w : {width, sublayer.inner}) {
    if (needs.gram) sums += tokens * a_sum * static_cast<double>(w * w);
  }
  if (!needs.solve) return;
  const auto products =
      static_cast<double>(split ? reconstruct::products_of(grid.iterations) : grid.iterations);
  const auto settings =
      static_cast<double>(std::min(grid.lambdas.size(), kTriedLambdas) * grid.blends.size());
  for (const int64_t w : {width, sublayer.inner}) {
    const int64_t elements = w == sublayer.inner ? sublayer.inner * width : sublayer.elements_of_first(width);
    const double rows = static_cast<double>(elements) / static_cast<double>(w);
    const double tried = settings * std::min(static_cast<double>(grid.rows), rows);
    steps += 2.0 * static_cast<double>(w * w) * products * (rows + tried);
  }
}

}  // namespace

/// weights: a block as fp32 masters, the larger sublayer in the compute dtype, and with a dense stream or its
/// statistics the dense block in the compute dtype. activations: for each stream the residual stream and the
/// stored inputs of second groups. statistics and workspace: see the functions above; choosing, solving and
/// observing follow one another.
StageBudget prune_budget(const CostModel& cost, bool solve) {
  const PruneNeeds needs(cost.plan(), solve);
  StageBudget stage = cost.start(solve ? "solve" : "prune");
  stage.weights = cost.block_elements() * kFp32Bytes + cost.sublayer_elements() * cost.compute_bytes();
  if (needs.cross || needs.dense_statistics) stage.weights += cost.block_elements() * cost.compute_bytes();
  if (needs.observe) {
    cost.add_residual_streams(stage, needs.cross ? 2 : 1);
    cost.add_streams(stage, needs.cross ? 2 : 1, widest(cost), cost.compute().dtype);
  }
  stage.statistics = sum_bytes(cost, needs);
  stage.workspace = std::max(
      {choosing_bytes(cost, needs), solve ? solving_bytes(cost, needs) : 0, observing_bytes(cost, needs)});
  Operations operations;
  for (const SublayerShape& sublayer : cost.sublayers()) add_operations(operations, cost, needs, sublayer);
  const auto blocks = static_cast<double>(cost.config().blocks);
  cost.spend(stage, blocks * operations.compute, blocks * operations.fp32,
             blocks * kMaskSweeps * kFp32Bytes * static_cast<double>(cost.block_elements()));
  return stage;
}

}  // namespace freelunch::pipeline
