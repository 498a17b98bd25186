#include "kernels/model_shapes.h"

#include <ATen/ATen.h>

#include <cmath>

namespace freelunch::benchmarks {

using model::Config;
using model::Sublayer;
using model::WeightRole;

const std::vector<Config>& model_shapes() {
  static const std::vector<Config> shapes{
      {.width = 576, .intermediate = 1536, .heads = 9, .kv_heads = 3, .head_dim = 64},
      {.width = 896, .intermediate = 4864, .heads = 14, .kv_heads = 2, .head_dim = 64},
      {.width = 2048, .intermediate = 8192, .heads = 32, .kv_heads = 8, .head_dim = 64},
      {.width = 4096, .intermediate = 14336, .heads = 32, .kv_heads = 8, .head_dim = 128}};
  return shapes;
}

model::Block random_half(const Config& config, Sublayer sublayer, at::ScalarType dtype) {
  const int64_t d = config.width;
  const auto matrix = [&](int64_t out, int64_t in) {
    return at::randn({out, in}).mul_(1 / std::sqrt(static_cast<double>(in))).to(dtype);
  };
  model::Block block;
  if (sublayer == Sublayer::kMlp) {
    block.set(WeightRole::kMlpNorm, at::ones({d}));
    block.set(WeightRole::kGate, matrix(config.intermediate, d));
    block.set(WeightRole::kUp, matrix(config.intermediate, d));
    block.set(WeightRole::kDown, matrix(d, config.intermediate));
  } else {
    block.set(WeightRole::kAttentionNorm, at::ones({d}));
    block.set(WeightRole::kQuery, matrix(config.heads * config.head_dim, d));
    block.set(WeightRole::kKey, matrix(config.kv_heads * config.head_dim, d));
    block.set(WeightRole::kValue, matrix(config.kv_heads * config.head_dim, d));
    block.set(WeightRole::kOutput, matrix(d, config.heads * config.head_dim));
  }
  return block;
}

double forward_flop(const Config& config, Sublayer sublayer, int64_t length) {
  const auto d = static_cast<double>(config.width);
  const auto tokens = static_cast<double>(length);
  if (sublayer == Sublayer::kMlp) return 2 * tokens * 3 * d * static_cast<double>(config.intermediate);
  const auto queries = static_cast<double>(config.heads * config.head_dim);
  const auto keys = static_cast<double>(config.kv_heads * config.head_dim);
  const double matrices = 2 * tokens * d * (2 * queries + 2 * keys);
  // q k^T and p v: position t attends to t + 1 positions
  return matrices + 2 * 2 * queries * tokens * (tokens + 1) / 2;
}

}  // namespace freelunch::benchmarks
