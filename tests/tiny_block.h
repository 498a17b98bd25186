#pragma once
#include <ATen/ATen.h>

#include "freelunch/architecture/config.h"
#include "freelunch/model/block.h"

namespace freelunch {

/// One small block of Llama's shape.
inline model::Config tiny_config() {
  model::Config c;
  c.architecture = "llama";
  c.vocabulary = 16;
  c.width = 16;
  c.intermediate = 24;
  c.blocks = 1;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 4;
  return c;
}

/// Its tensors in fp32: random matrices, norms of ones.
inline model::Block random_block(const model::Config& c) {
  using model::WeightRole;
  model::Block b;
  const int64_t kv = c.kv_heads * c.head_dim;
  b.set(WeightRole::kAttentionNorm, at::ones({c.width}));
  b.set(WeightRole::kMlpNorm, at::ones({c.width}));
  b.set(WeightRole::kQuery, at::randn({c.width, c.width}) * 0.3);
  b.set(WeightRole::kKey, at::randn({kv, c.width}) * 0.3);
  b.set(WeightRole::kValue, at::randn({kv, c.width}) * 0.3);
  b.set(WeightRole::kOutput, at::randn({c.width, c.width}) * 0.3);
  b.set(WeightRole::kGate, at::randn({c.intermediate, c.width}) * 0.3);
  b.set(WeightRole::kUp, at::randn({c.intermediate, c.width}) * 0.3);
  b.set(WeightRole::kDown, at::randn({c.width, c.intermediate}) * 0.3);
  return b;
}

}  // namespace freelunch
