#include "freelunch/pipeline/block_choice.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "freelunch/base/interrupt.h"
#include "freelunch/pipeline/dense_divergence.h"
#include "freelunch/pipeline/seam.h"
#include "freelunch/pipeline/stages/next_reader.h"
#include "freelunch/pipeline/window_batches.h"
#include "freelunch/structure/block_criterion.h"
#include "freelunch/structure/refit.h"

namespace freelunch::pipeline {
namespace {

using structure::BlockCriterion;

/// Greedy removal by the divergence from the dense model.
class LossChoice {
 public:
  explicit LossChoice(RunContext& run)
      : run_(run),
        forward_(run.model().config(), run.compute, run.windows.size(1)),
        windows_(std::min(kLossWindows, run.held_out)),
        head_(run.dense().head(run.compute)),
        norm_(run.dense().final_norm(run.compute.device)) {
    dense_ = scored(dense_hidden_of_held_out(run).narrow(0, 0, windows_).to(run.compute.device));
    const at::Tensor tokens = run.windows.narrow(0, run.windows.size(0) - run.held_out, windows_);
    embedded_ = run.dense().embed(tokens, run.compute.device);
  }

  /// What is left at each of the numbers, for which one greedy pass is enough.
  std::vector<std::vector<int64_t>> run(const std::vector<int64_t>& kept) {
    std::vector<int64_t> blocks(static_cast<size_t>(forward_.config().blocks));
    std::iota(blocks.begin(), blocks.end(), 0);
    std::vector<std::vector<int64_t>> choices(kept.size());
    const int64_t removals = std::ssize(blocks) - *std::min_element(kept.begin(), kept.end());
    run_.sinks.progress.begin("choose blocks", removals, "blocks");
    for (int64_t i = 0; i < removals; ++i) {
      remove_cheapest(blocks);
      for (size_t k = 0; k < kept.size(); ++k) {
        if (std::ssize(blocks) == kept[k]) choices[k] = blocks;
      }
      run_.sinks.progress.advance(i + 1, "");
    }
    run_.sinks.progress.end();
    return choices;
  }

 private:
  static at::Tensor scored(const at::Tensor& hidden) {
    return hidden.narrow(1, 0, hidden.size(1) - 1).flatten(0, 1);
  }

  /// Removes from the list the block without which the divergence is least. What comes before a block is the
  /// same for all candidates behind it, so each candidate runs only the rest.
  void remove_cheapest(std::vector<int64_t>& blocks) const {
    at::Tensor before = embedded_.clone();
    size_t best = 0;
    double least = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < blocks.size(); ++i) {
      at::Tensor x = before.clone();
      for (size_t j = i + 1; j < blocks.size(); ++j) pass(blocks[j], x);
      const double divergence = mean_divergence(scored(norm_(x)), dense_, head_);
      if (divergence < least) {
        least = divergence;
        best = i;
      }
      pass(blocks[i], before);
    }
    run_.sinks.log.log(LogLevel::kDebug,
                       fmt::format("blocks: without {} the KL divergence from the dense model is {:.4f}",
                                   blocks[best], least));
    blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(best));
  }

  void pass(int64_t index, at::Tensor& x) const {
    throw_if_interrupted();
    const model::Block block = run_.dense().block(index, run_.compute.device, run_.compute.dtype);
    x.copy_(forward_.forward_block(block, x));
  }

  RunContext& run_;
  model::Forward forward_;
  int64_t windows_;
  model::Head head_;
  model::Norm norm_;
  at::Tensor dense_, embedded_;
};

/// The cosine between the streams before block i and before block i + span, mean over tokens, for each i.
std::vector<double> mean_cosines(RunContext& run, int64_t span) {
  const model::Config& config = run.model().config();
  const model::Forward forward(config, run.compute, run.windows.size(1));
  const int64_t windows = run.windows.size(0) - run.held_out;
  std::vector<double> sums(static_cast<size_t>(config.blocks - span + 1), 0);
  for_each_batch(windows, 0, [&](int64_t i, int64_t n, bool) {
    std::vector<at::Tensor> streams{run.dense().embed(run.windows.narrow(0, i, n), run.compute.device)};
    for (int64_t b = 0; b < config.blocks; ++b) {
      throw_if_interrupted();
      const model::Block block = run.dense().block(b, run.compute.device, run.compute.dtype);
      streams.push_back(forward.forward_block(block, streams.back()));
      if (b + 1 < span) continue;
      const auto first = static_cast<size_t>(b + 1 - span);
      sums[first] +=
          at::cosine_similarity(streams[first], streams.back(), -1).sum(at::kDouble).item<double>();
      streams[first].reset();  // only the last `span` streams are needed
    }
  });
  const auto tokens = static_cast<double>(windows * run.windows.size(1));
  for (double& sum : sums) sum /= tokens;
  return sums;
}

/// For each run of `removed` blocks, the mean square of the error that the refit of down before it leaves in
/// the stream, relative to the stream; each dimension counts as much as the next block reads of it. Infinite
/// where nothing before the run can be refitted.
std::vector<double> residuals(RunContext& run, int64_t removed) {
  const model::Config& config = run.model().config();
  const model::Forward forward(config, run.compute, run.windows.size(1));
  StreamPair streams = run.streams(forward, run.dense(), /*with_dense=*/false);
  const auto block = [&](int64_t b) { return run.dense().block(b, run.compute.device, run.compute.dtype); };
  std::vector<double> errors(static_cast<size_t>(config.blocks - removed + 1),
                             std::numeric_limits<double>::infinity());
  const int64_t candidates = config.blocks - removed;
  run.sinks.progress.begin("choose blocks", candidates, "blocks");
  for (int64_t b = 0; b < candidates; ++b) {
    throw_if_interrupted();
    const model::Block ours = block(b);
    streams.pass(ours, ours, model::Sublayer::kAttention);
    if (can_make_up(config, b)) {
      std::vector<model::Block> skipped;
      for (int64_t i = 1; i <= removed; ++i) skipped.push_back(block(b + i));
      const at::Tensor W = ours[model::WeightRole::kDown].to(at::kFloat);
      const SeamStatistics seam = seam_statistics(streams, forward, W, ours, skipped);
      const bool has_held_out = seam.down.tokens(true) > 0;
      const at::Tensor weights = next_reader(run, {.block = b + removed, .sublayer = model::Sublayer::kMlp},
                                             reconstruct::Loss::kReaderMse)
                                     .weights;
      const structure::ConsumerMoments judged = seam.down.moments(has_held_out, 1);
      const structure::Refitted fitted = structure::refit(
          W, at::arange(W.size(1), W.options().dtype(at::kLong)), seam.down.moments(false, 1), judged,
          weights,
          {.lambdas = run.plan.grid.lambdas, .intercept = ours[model::WeightRole::kDownBias].defined()});
      // from an error relative to what down gives to one relative to the stream
      const at::Tensor exact = weights.to(judged.squares.scalar_type());
      errors[static_cast<size_t>(b + 1)] =
          fitted.held_out_after * (judged.squares * exact).sum().item<double>() /
          (seam.stream_squares.at(has_held_out ? 1 : 0) * exact).sum().item<double>();
    }
    streams.pass(ours, ours, model::Sublayer::kMlp);
    run.sinks.progress.advance(b + 1, "");
  }
  run.sinks.progress.end();
  return errors;
}

/// The blocks that stay by a criterion that scores each number of removed blocks on its own.
std::vector<int64_t> scored_choice(RunContext& run, BlockCriterion criterion, int64_t kept) {
  const int64_t blocks = run.model().config().blocks;
  const int64_t removed = blocks - kept;
  if (criterion == BlockCriterion::kResidual)
    return structure::all_but_lowest_run(residuals(run, removed), blocks, removed);
  std::vector<double> turned = mean_cosines(run, criterion == BlockCriterion::kInfluence ? 1 : removed);
  for (double& cosine : turned)
    cosine = criterion == BlockCriterion::kInfluence ? 1 - cosine : std::acos(cosine) / std::numbers::pi;
  return criterion == BlockCriterion::kInfluence ? structure::highest_blocks(turned, kept)
                                                 : structure::all_but_lowest_run(turned, blocks, removed);
}

}  // namespace

std::vector<std::vector<int64_t>> choose_blocks(RunContext& run, const std::vector<int64_t>& kept) {
  const at::NoGradGuard no_grad;
  const BlockCriterion criterion = run.plan.structure.block_criterion;
  if (criterion == BlockCriterion::kLoss) return LossChoice(run).run(kept);
  std::vector<std::vector<int64_t>> choices;
  choices.reserve(kept.size());
  for (const int64_t n : kept) choices.push_back(scored_choice(run, criterion, n));
  return choices;
}

}  // namespace freelunch::pipeline
