#include "model/gguf_config.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/architecture.h"

namespace freelunch::model {
namespace {

using checkpoint::GgufCheckpoint;
using checkpoint::GgufMetadata;

/// The file holds the divisors alone. Llama 3.x uses factor 8 or 32 with bounds 1 and 4 over 8,192 tokens, so
/// the largest divisor is the factor; the others prove the guess.
RopeScaling rope_scaling_of_divisors(const GgufCheckpoint& file, AttentionReach reach, int64_t rotary_dim,
                                     const std::string& name) {
  const checkpoint::TensorInfo& info = file.at("rope_freqs.weight");
  if (info.elements() != rotary_dim / 2)
    fail(ErrorKind::kBadFile, "{}: rope_freqs.weight holds {} frequencies, but a head of {} has {} pairs",
         name, info.elements(), rotary_dim, rotary_dim / 2);
  std::vector<float> divisors(static_cast<size_t>(info.elements()));
  file.read_f32(info, divisors);
  reach.rope_scaling = {
      .kind = RopeScalingKind::kLlama3,
      .factor = divisors.empty() ? 1.0 : *std::max_element(divisors.begin(), divisors.end())};
  const std::vector<double> expected = llama3_divisors(reach, rotary_dim);
  bool same = expected.size() == divisors.size();
  for (size_t i = 0; same && i < expected.size(); ++i) {
    same = std::abs(expected[i] - divisors[i]) <= 1e-3 * expected[i];
  }
  if (!same) {
    fail(ErrorKind::kUnsupported,
         "{}: rope_freqs.weight holds frequencies that are not those of Llama 3 scaling", name);
  }
  return reach.rope_scaling;
}

RopeScaling read_rope_scaling(const GgufCheckpoint& file, const Config& config, const std::string& prefix,
                              const std::string& name) {
  const GgufMetadata& metadata = file.metadata();
  if (file.find("rope_freqs.weight") != nullptr)
    return rope_scaling_of_divisors(file, config.reaches[0], config.rotary_dim(), name);
  const std::string kind = metadata.get_string(prefix + "rope.scaling.type", "none");
  if (kind == "none") return {};
  if (kind != "linear") {
    fail(ErrorKind::kUnsupported,
         "{}: rope scaling '{}' is not supported; this version handles linear and llama3", name, kind);
  }
  return {.kind = RopeScalingKind::kLinear, .factor = metadata.get_float(prefix + "rope.scaling.factor")};
}

std::optional<int64_t> token_id(const GgufMetadata& metadata, const char* key) {
  if (!metadata.has(key)) return std::nullopt;
  return static_cast<int64_t>(metadata.get_uint(key));
}

}  // namespace

namespace {

void read_attention(const GgufMetadata& metadata, const std::string& prefix, Config& config) {
  const auto number = [&](const char* key, double otherwise) {
    return metadata.get_float(prefix + key, otherwise);
  };
  config.reaches[0].rope_theta = number("rope.freq_base", config.reaches[0].rope_theta);
  if (metadata.has(prefix + "rope.dimension_count")) {
    config.rotary_share = static_cast<double>(metadata.get_uint(prefix + "rope.dimension_count")) /
                          static_cast<double>(config.head_dim);
  }
  if (metadata.has(prefix + "attention.sliding_window"))
    config.reaches.back().window =
        static_cast<int64_t>(metadata.get_uint(prefix + "attention.sliding_window"));
  config.parallel = metadata.get_bool(prefix + "use_parallel_residual", config.parallel);
  config.attention_soft_cap = number("attn_logit_softcapping", config.attention_soft_cap);
  config.logit_soft_cap = number("final_logit_softcapping", config.logit_soft_cap);
}

void read_experts(const GgufMetadata& metadata, const std::string& prefix, Config& config) {
  if (config.experts.count == 0) return;
  config.experts.count = static_cast<int64_t>(metadata.get_uint(prefix + "expert_count"));
  config.experts.chosen = static_cast<int64_t>(metadata.get_uint(prefix + "expert_used_count"));
  config.experts.intermediate = static_cast<int64_t>(
      metadata.get_uint(prefix + "expert_feed_forward_length", static_cast<uint64_t>(config.intermediate)));
}

}  // namespace

Config config_from_gguf(const GgufCheckpoint& file, const std::string& name) {
  const GgufMetadata& metadata = file.metadata();
  const std::string gguf_name = metadata.get_string("general.architecture");
  const std::string prefix = gguf_name + ".";
  const bool experts =
      metadata.has(prefix + "expert_count") && metadata.get_uint(prefix + "expert_count") > 0;
  const Architecture& architecture = architecture_of_gguf(gguf_name, experts, name);
  const auto size = [&](const char* key) { return static_cast<int64_t>(metadata.get_uint(prefix + key)); };
  Config config = architecture.base;
  config.architecture = architecture.name;
  config.width = size("embedding_length");
  config.embedding_width = config.width;
  config.intermediate = size("feed_forward_length");
  config.blocks = size("block_count");
  if (config.blocks <= 0 || config.blocks > kMostBlocks)
    fail(ErrorKind::kBadFile, "{}: {}block_count is {}, expected 1 to {}", name, prefix, config.blocks,
         kMostBlocks);
  config.heads = size("attention.head_count");
  config.kv_heads = static_cast<int64_t>(
      metadata.get_uint(prefix + "attention.head_count_kv", static_cast<uint64_t>(config.heads)));
  if (config.heads <= 0)
    fail(ErrorKind::kBadFile, "{}: {}attention.head_count is {}", name, prefix, config.heads);
  config.head_dim = static_cast<int64_t>(
      metadata.get_uint(prefix + "attention.key_length", static_cast<uint64_t>(config.width / config.heads)));
  config.max_length = size("context_length");
  config.norm_epsilon =
      metadata.get_float(prefix + (config.norm == NormKind::kLayer ? "attention.layer_norm_epsilon"
                                                                   : "attention.layer_norm_rms_epsilon"));
  const checkpoint::TensorInfo* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    fail(ErrorKind::kBadFile, "{}: tensor 'token_embd.weight' is {}, expected a matrix", name,
         embedding == nullptr ? "missing" : checkpoint::shape_text(embedding->shape));
  }
  config.vocabulary = embedding->shape[0];
  config.tied_embeddings = file.find("output.weight") == nullptr;
  config.bos = token_id(metadata, "tokenizer.ggml.bos_token_id");
  config.eos = token_id(metadata, "tokenizer.ggml.eos_token_id");
  read_attention(metadata, prefix, config);
  read_experts(metadata, prefix, config);
  // biases are there or not; fused names stand for all they hold
  const auto has = [&](Part part) {
    const PartName* named = architecture.gguf.find(part);
    if (named == nullptr) return false;
    const std::string_view stored = named->stored.empty() ? named->name : named->stored;
    return file.find("blk.0." + std::string(stored)) != nullptr;
  };
  config.qkv_bias = has(Part::kQueryBias);
  config.output_bias = has(Part::kOutputBias);
  config.mlp_bias = has(Part::kUpBias);
  if (architecture.adjust != nullptr) architecture.adjust(config, nullptr);
  validate(config, name);
  config.reaches[0].rope_scaling = read_rope_scaling(file, config, prefix, name);
  return config;
}

}  // namespace freelunch::model
