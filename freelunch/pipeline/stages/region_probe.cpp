#include "freelunch/pipeline/stages/region_probe.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/base/interrupt.h"
#include "freelunch/pipeline/dense_divergence.h"

namespace freelunch::pipeline {
namespace {

// A reading costs two passes of the probe's windows through the blocks behind, and the head. These numbers
// keep all readings of a stage below 15 % of it (docs/methods/objective.md).
constexpr int64_t kReadings = 4;
constexpr int64_t kSamplesPerWindow = 16;  // one window of the probe for so many calibration windows
constexpr int64_t kScoredEvery = 4;  // tokens: the head of a large vocabulary costs more than the blocks

int64_t windows_of(const RunContext& run) {
  const int64_t samples = run.windows.size(0) - run.held_out;
  return std::min(run.held_out, std::max<int64_t>(1, samples / kSamplesPerWindow));
}

/// Every kScoredEvery-th position whose next token is known: (n, l, d) -> (tokens, d).
at::Tensor scored(const at::Tensor& hidden) {
  return hidden.slice(1, 0, hidden.size(1) - 1, kScoredEvery).flatten(0, 1);
}

}  // namespace

RegionProbe::RegionProbe(RunContext& run, const model::Forward& forward) : run_(run), forward_(forward) {
  const at::NoGradGuard no_grad;
  const int64_t n = windows_of(run);
  dense_ = scored(dense_hidden_of_held_out(run).narrow(0, 0, n).to(run.compute.device));
  const at::Tensor tokens = run.windows.narrow(0, run.windows.size(0) - run.held_out, n);
  before_ = run.current().embed(tokens, run.compute.device);
  now_ = before_.clone();
}

void RegionProbe::advance(const model::Block& repaired) {
  const at::NoGradGuard no_grad;
  const auto pass = [&](const model::Block& block, const at::Tensor& stream) {
    throw_if_interrupted();
    stream.copy_(forward_.forward_block(block, stream));
  };
  pass(run_.before_stage(repaired.index), before_);
  pass(model::with_matrices_in(repaired, forward_.compute().dtype), now_);
}

bool RegionProbe::due(int64_t first, int64_t last) const {
  const int64_t blocks = forward_.config().blocks;
  const auto parts = [&](int64_t done) { return done * (kReadings + 1) / blocks; };
  return last + 1 < blocks && parts(last + 1) > parts(first);
}

RegionProbe::Reading RegionProbe::read(int64_t block) const {
  const at::NoGradGuard no_grad;
  at::Tensor before = before_.clone();
  at::Tensor now = now_.clone();
  for (int64_t b = block + 1; b < forward_.config().blocks; ++b) {
    const model::Block dense = run_.dense_block(b);
    for (const at::Tensor& stream : {before, now}) {
      throw_if_interrupted();
      stream.copy_(forward_.forward_block(dense, stream));
    }
  }
  const model::Head head = run_.dense().head(run_.compute);
  return {.before = divergence(before, head), .now = divergence(now, head)};
}

double RegionProbe::divergence(const at::Tensor& stream, const model::Head& head) const {
  return mean_divergence(scored(run_.dense().final_norm(run_.compute.device)(stream)), dense_, head);
}

}  // namespace freelunch::pipeline
