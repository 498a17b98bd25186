#include <ATen/ATen.h>

#include <algorithm>

#include "freelunch/pipeline/cut.h"
#include "freelunch/pipeline/seam.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {
namespace {

/// The last matrix of a sublayer: widths of its input, before and after what is removed.
struct Removal {
  int64_t before = 0;
  int64_t after = 0;
  bool targets = false;  ///< its refit aims at given outputs, which need cross moments
  double times = 0;      ///< how often it is done
};

/// Bytes of the moments of one window set in fp64: the Gram matrix, and the cross moments of targets.
int64_t moment_bytes(const Removal& removal, int64_t width) {
  return statistics::Gram::bytes(removal.before, at::kDouble) +
         (removal.targets ? removal.before * width * kFp64Bytes : 0);
}

/// fp64 squares that live at once: to choose units H, A and its factor, the inverse; to refit H of both
/// window sets, that of the kept columns, A and its factor.
int64_t solving_bytes(const Removal& removal, int64_t width) {
  const int64_t removed = removal.before - removal.after;
  const int64_t choosing = 4 * removal.before * removal.before + removed * (removal.before + width);
  const int64_t refitting =
      2 * removal.before * removal.before + 3 * removal.after * removal.after + 6 * removal.before * width;
  return std::max(choosing, refitting) * kFp64Bytes;
}

}  // namespace

/// weights: the dense block and ours, each in fp32 and in the compute dtype. activations: our residual stream
/// and, if the refit aims at it, the dense one, each with the stored inputs of a second group. statistics:
/// the moments of calibration and held-out windows. Operations: two passes of each stream, the moments, an
/// inverse and a downdate for each removed unit, and a factorisation for each lambda that is tried.
StageBudget cut_budget(const CostModel& dense, const model::Config& smaller, bool refits,
                       const std::string& name) {
  const bool targets = refits && blends_dense_stream(dense.plan());
  StageBudget stage = dense.start(name);
  const model::Config& before = dense.config();
  const int64_t width = before.width;
  const auto blocks = static_cast<double>(before.blocks);
  const Removal heads{.before = before.heads * before.head_dim,
                      .after = smaller.heads * smaller.head_dim,
                      .targets = targets,
                      .times = blocks};
  const bool experts = before.experts.count > 0;
  const Removal channels{.before = experts ? before.experts.intermediate : before.intermediate,
                         .after = experts ? smaller.experts.intermediate : smaller.intermediate,
                         .targets = targets,
                         .times = blocks};
  std::vector<Removal> removals;
  for (const Removal& removal : {heads, channels}) {
    if (removal.before != removal.after) removals.push_back(removal);
  }
  const int64_t removed = before.blocks - smaller.blocks;
  if (removed > 0 && refits && can_make_up(before, 0))
    removals.push_back({.before = before.intermediate,
                        .after = before.intermediate,
                        .targets = true,
                        .times = static_cast<double>(removed)});
  const int64_t tokens = kWindowsPerPass * dense.length();
  stage.weights = 2 * dense.block_elements() * (kFp32Bytes + dense.compute_bytes());
  double operations = 0;
  double fp64_operations = 0;
  for (const Removal& removal : removals) {
    stage.statistics = std::max(stage.statistics, 2 * moment_bytes(removal, width));
    stage.workspace = std::max(stage.workspace, solving_bytes(removal, width));
    const auto in = static_cast<double>(removal.before);
    const auto kept = static_cast<double>(removal.after);
    const auto out = static_cast<double>(width);
    operations += removal.times * dense.tokens() * in * (in + (removal.targets ? 4 * out : 0));
    double exact = 3 * in * in * in + 2 * (in - kept) * in * (in - kept + out);
    if (refits)
      exact += static_cast<double>(dense.plan().grid.lambdas.size()) *
               (kept * kept * kept / 3 + 4 * kept * kept * out);
    fp64_operations += removal.times * exact;
  }
  const int64_t streams = targets ? 2 : 1;
  dense.add_residual_streams(stage, static_cast<double>(streams));
  dense.add_streams(stage, static_cast<double>(streams), std::max(heads.before, channels.before),
                    dense.compute().dtype);
  stage.workspace = std::max(stage.workspace,
                             dense.widest_pass(tokens) +
                                 tokens * (std::max(heads.before, channels.before) + 2 * width) * kFp32Bytes);
  // fp64 products run at about half the fp32 rate
  dense.spend(
      stage,
      blocks * 2 * static_cast<double>(streams) * dense.tokens() * dense.forward_block(dense.length()) +
          operations,
      2 * fp64_operations, 0);
  return stage;
}

}  // namespace freelunch::pipeline
