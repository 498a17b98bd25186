#pragma once
#include <cstdint>
#include <vector>

#include "freelunch/architecture/config.h"
#include "freelunch/model/block.h"

namespace freelunch::benchmarks {

/// Shapes of real models, by the width of the residual stream: SmolLM2-135M (576), Qwen2.5-0.5B (896),
/// Llama 3.2 1B (2048), Llama 3 8B (4096).
const std::vector<model::Config>& model_shapes();

/// A sublayer's tensors filled with small random numbers: matrices in the given dtype, the norm in fp32.
model::Block random_half(const model::Config& config, model::Sublayer sublayer, at::ScalarType dtype);

/// Operations of one sublayer's forward pass over a window: the GEMMs with its matrices, and for attention
/// the causal half of the GEMMs of queries, keys and values.
double forward_flop(const model::Config& config, model::Sublayer sublayer, int64_t length);

}  // namespace freelunch::benchmarks
