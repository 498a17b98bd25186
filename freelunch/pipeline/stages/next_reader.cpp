#include "freelunch/pipeline/stages/next_reader.h"

#include <ATen/ATen.h>

#include <optional>

#include "freelunch/pipeline/sublayer_place.h"
#include "freelunch/storage/transfer.h"

namespace freelunch::pipeline {
namespace {

using model::Sublayer;
using model::WeightRole;

// Added to weights whose mean is 1. A dimension that the next sublayer hardly reads still changes the scale
// that its norm divides by, and later sublayers may read it (docs/methods/objective.md).
constexpr double kReaderDamping = 1e-3;

/// The sublayer that reads the stream next; none after the last block.
std::optional<SublayerPlace> reader_after(const model::Config& config, const SublayerPlace& place) {
  if (place.sublayer == Sublayer::kAttention && !config.parallel)
    return SublayerPlace{place.block, Sublayer::kMlp};
  if (place.block + 1 == config.blocks) return std::nullopt;
  return SublayerPlace{place.block + 1, Sublayer::kAttention};
}

/// The norm that the reader applies to the stream.
model::Norm norm_before(const RunContext& run, const SublayerPlace& reader) {
  const model::LanguageModel& model = run.teacher;
  if (!model.config().norms_input()) return {.kind = model::NormKind::kNone};
  const bool mlp = reader.sublayer == Sublayer::kMlp;
  return model::norm_of(model.config(), mlp ? WeightRole::kMlpNorm : WeightRole::kAttentionNorm,
                        [&](WeightRole role) { return model.read(*model.find(reader.block, role)); });
}

bool reads_stream(WeightRole role) {
  return role.kind == WeightRole::kQuery || role.kind == WeightRole::kKey ||
         role.kind == WeightRole::kValue || role.kind == WeightRole::kGate || role.kind == WeightRole::kUp;
}

/// The sum of squares of each column over all matrices of the reader that read the stream: (width) fp32.
at::Tensor column_squares(const RunContext& run, const SublayerPlace& reader) {
  const model::LanguageModel& model = run.teacher;
  at::Tensor sum = at::zeros({model.config().width}, at::kFloat);
  for (const model::ModelTensor* tensor : model.block_tensors(reader.block)) {
    if (model::sublayer_of(*tensor->role) == reader.sublayer && reads_stream(*tensor->role))
      sum += model.read(*tensor).square().sum(0);
  }
  return sum;
}

}  // namespace

reconstruct::NextReader next_reader(const RunContext& run, const SublayerPlace& place,
                                    reconstruct::Loss loss) {
  using reconstruct::Loss;
  if (loss != Loss::kNextNorm && loss != Loss::kReaderMse) return {};
  const model::Config& config = run.teacher.config();
  std::optional<SublayerPlace> reader = reader_after(run.model().config(), place);
  if (reader) reader->block = run.teacher_block(reader->block);  // its weights are read there
  model::Norm norm = reader ? norm_before(run, *reader) : run.dense().final_norm(at::kCPU);
  if (loss == Loss::kNextNorm) {
    for (at::Tensor* tensor : {&norm.weight, &norm.bias}) {
      if (tensor->defined()) *tensor = model::to_device(*tensor, run.compute.device);
    }
    return {.norm = norm};
  }
  at::Tensor weights = norm.weight.defined() ? norm.gain().square() : at::ones({config.width}, at::kFloat);
  if (reader) weights = weights * column_squares(run, *reader);
  weights = weights / weights.mean().clamp_min(1e-30) + kReaderDamping;
  // between the sublayers of a parallel block the stream is the block's input, then the sum so far
  if (config.parallel && place.sublayer == Sublayer::kAttention)
    weights = at::cat({at::zeros({config.width}, at::kFloat), weights});
  return {.weights = model::to_device(weights.contiguous(), run.compute.device)};
}

}  // namespace freelunch::pipeline
