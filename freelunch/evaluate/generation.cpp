#include "freelunch/evaluate/generation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/model/forward.h"

namespace freelunch::evaluate {

GeneratedTokens generate(const model::WeightView& weights, const std::vector<int64_t>& prompt,
                         const GenerationSettings& settings, const backend::Compute& compute,
                         const std::function<void(int64_t)>& visit) {
  const at::NoGradGuard no_grad;
  if (prompt.empty()) fail(ErrorKind::kInvalidArgument, "the prompt has no token to continue from");
  const model::Config& config = weights.config();
  std::vector<model::Block> blocks;
  for (int64_t b = 0; b < config.blocks; ++b) {
    throw_if_interrupted();
    blocks.push_back(weights.block(b, compute.device, compute.dtype));
  }
  const model::Norm norm = weights.final_norm(compute.device);
  const model::Head head = weights.head(compute);
  const bool learned = config.positions == model::PositionKind::kLearned;
  std::vector<int64_t> sequence = prompt;
  GeneratedTokens result;
  for (int64_t i = 0; i < settings.tokens; ++i) {
    throw_if_interrupted();
    const auto length = static_cast<int64_t>(sequence.size());
    if (learned && i > 0 && length > config.max_length) {  // a prompt that is too long fails below
      result.ending = Ending::kPositions;
      break;
    }
    const model::Forward forward(config, compute, length);
    at::Tensor x = weights.embed(at::tensor(sequence).unsqueeze(0), compute.device);
    for (const model::Block& block : blocks) x = forward.forward_block(block, x);
    const at::Tensor logits = head.logits(norm(x.select(1, length - 1))).to(at::kFloat);
    if (!at::isfinite(logits).all().item<bool>())
      fail(ErrorKind::kNumerical, "generate: the model's output is not finite");
    const auto next = logits.argmax().item<int64_t>();
    if (std::find(settings.stop.begin(), settings.stop.end(), next) != settings.stop.end()) {
      result.ending = Ending::kStop;
      break;
    }
    sequence.push_back(next);
    result.tokens.push_back(next);
    if (visit) visit(next);
  }
  return result;
}

}  // namespace freelunch::evaluate
