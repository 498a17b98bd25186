#include "freelunch/pipeline/expert_choice.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "freelunch/nn/mixture.h"
#include "freelunch/pipeline/window_batches.h"
#include "freelunch/structure/expert_criterion.h"

namespace freelunch::pipeline {

using model::WeightRole;
using structure::ExpertCriterion;

at::Tensor choose_experts(const RunContext& run, const model::Forward& forward, const model::Block& block,
                          const SublayerPlace& place, int64_t kept, const StreamPair* streams) {
  const ExpertCriterion criterion = run.plan.structure.expert_criterion;
  const int64_t count = block[WeightRole::kRouter].size(0);
  if (criterion == ExpertCriterion::kRandom) {
    RandomStream random(run.plan.seed, "experts " + place.name());
    at::Tensor scores = at::empty({count}, at::kDouble);
    for (int64_t e = 0; e < count; ++e) scores[e] = random.uniform();
    return structure::highest(scores.to(run.compute.device), kept);
  }
  const at::NoGradGuard no_grad;
  structure::ExpertUse use(count, run.compute.device);
  for_each_batch(run.windows.size(0), run.held_out, [&](int64_t i, int64_t n, bool held_out) {
    if (held_out) return;
    const at::Tensor normed =
        forward.normed(block, model::Sublayer::kMlp, streams->stream(i, n)).tensor.flatten(0, 1);
    const model::Routing routing = model::route(forward.config().experts, block[WeightRole::kRouter], normed);
    for (int32_t e = 0; e < count; ++e) {
      const at::Tensor tokens = model::tokens_of(routing, e);
      if (tokens.numel() == 0) continue;
      const at::Tensor inner = forward.expert_inner(block, normed.index_select(0, tokens), e);
      use.add(e, model::weights_of(routing, e, tokens), at::linear(inner, block[{WeightRole::kDown, e}]));
    }
  });
  return structure::highest(criterion == ExpertCriterion::kReap ? use.reap() : use.frequency(), kept);
}

}  // namespace freelunch::pipeline
