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
RopeScaling rope_scaling_of_divisors(const GgufCheckpoint& file, Config config, const std::string& name) {
  const checkpoint::TensorInfo& info = file.at("rope_freqs.weight");
  if (info.elements() != config.head_dim / 2)
    fail(ErrorKind::kBadFile, "{}: rope_freqs.weight holds {} frequencies, but a head of {} has {} pairs",
         name, info.elements(), config.head_dim, config.head_dim / 2);
  std::vector<float> divisors(static_cast<size_t>(info.elements()));
  file.read_f32(info, divisors);
  config.rope_scaling = {
      .kind = RopeScalingKind::kLlama3,
      .factor = divisors.empty() ? 1.0 : *std::max_element(divisors.begin(), divisors.end())};
  const std::vector<double> expected = llama3_divisors(config);
  bool same = expected.size() == divisors.size();
  for (size_t i = 0; same && i < expected.size(); ++i) {
    same = std::abs(expected[i] - divisors[i]) <= 1e-3 * expected[i];
  }
  if (!same) {
    fail(ErrorKind::kUnsupported,
         "{}: rope_freqs.weight holds frequencies that are not those of Llama 3 scaling", name);
  }
  return config.rope_scaling;
}

RopeScaling read_rope_scaling(const GgufCheckpoint& file, const Config& config, const std::string& prefix,
                              const std::string& name) {
  const GgufMetadata& metadata = file.metadata();
  if (file.find("rope_freqs.weight") != nullptr) return rope_scaling_of_divisors(file, config, name);
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

Config config_from_gguf(const GgufCheckpoint& file, const std::string& name) {
  const GgufMetadata& metadata = file.metadata();
  const Architecture& architecture = architecture_of_gguf(metadata.get_string("general.architecture"), name);
  const std::string prefix = std::string(architecture.gguf_name) + ".";
  const auto size = [&](const char* key) { return static_cast<int64_t>(metadata.get_uint(prefix + key)); };
  Config config;
  config.architecture = architecture.name;
  config.width = size("embedding_length");
  config.intermediate = size("feed_forward_length");
  config.blocks = size("block_count");
  config.heads = size("attention.head_count");
  config.kv_heads = static_cast<int64_t>(
      metadata.get_uint(prefix + "attention.head_count_kv", static_cast<uint64_t>(config.heads)));
  if (config.heads <= 0)
    fail(ErrorKind::kBadFile, "{}: {}attention.head_count is {}", name, prefix, config.heads);
  config.head_dim = static_cast<int64_t>(
      metadata.get_uint(prefix + "attention.key_length", static_cast<uint64_t>(config.width / config.heads)));
  config.max_length = size("context_length");
  config.norm_epsilon = metadata.get_float(prefix + "attention.layer_norm_rms_epsilon");
  config.rope_theta = metadata.get_float(prefix + "rope.freq_base", 10000.0);
  const checkpoint::TensorInfo* embedding = file.find("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    fail(ErrorKind::kBadFile, "{}: tensor 'token_embd.weight' is {}, expected a matrix", name,
         embedding == nullptr ? "missing" : checkpoint::shape_text(embedding->shape));
  }
  config.vocabulary = embedding->shape[0];
  config.tied_embeddings = file.find("output.weight") == nullptr;
  config.bos = token_id(metadata, "tokenizer.ggml.bos_token_id");
  config.eos = token_id(metadata, "tokenizer.ggml.eos_token_id");
  if (metadata.has(prefix + "expert_count") && metadata.get_uint(prefix + "expert_count") > 0) {
    fail(ErrorKind::kUnsupported, "{}: mixture-of-experts models are not supported", name);
  }
  config.qkv_bias = file.find("blk.0.attn_q.bias") != nullptr;
  config.output_bias = file.find("blk.0.attn_output.bias") != nullptr;
  config.mlp_bias = file.find("blk.0.ffn_gate.bias") != nullptr;
  if (architecture.adjust != nullptr) architecture.adjust(config, nullptr);
  validate(config, name);
  config.rope_scaling = read_rope_scaling(file, config, prefix, name);
  return config;
}

checkpoint::GgufMetadata config_to_gguf(const Config& config) {
  using checkpoint::GgufValue;
  const Architecture& own = architecture_of_model_type(config.architecture, "model");
  // mistral goes by the name of llama there, which it is but for its window
  const std::string name(own.gguf_name.empty() && config.architecture == "mistral" ? "llama" : own.gguf_name);
  if (name.empty())
    fail(ErrorKind::kUnsupported, "architecture '{}' cannot be written as GGUF", config.architecture);
  GgufMetadata metadata;
  const auto size = [&](const char* key, int64_t value) {
    metadata.add(name + "." + key, GgufValue::uint32(static_cast<uint32_t>(value)));
  };
  const auto number = [&](const char* key, double value) {
    metadata.add(name + "." + key, GgufValue::float32(static_cast<float>(value)));
  };
  metadata.add("general.architecture", GgufValue::string(name));
  size("vocab_size", config.vocabulary);
  size("context_length", config.max_length);
  size("embedding_length", config.width);
  size("block_count", config.blocks);
  size("feed_forward_length", config.intermediate);
  size("attention.head_count", config.heads);
  size("attention.head_count_kv", config.kv_heads);
  size("attention.key_length", config.head_dim);
  size("attention.value_length", config.head_dim);
  number("attention.layer_norm_rms_epsilon", config.norm_epsilon);
  size("rope.dimension_count", config.head_dim);
  number("rope.freq_base", config.rope_theta);
  if (config.rope_scaling.kind == RopeScalingKind::kLinear) {
    metadata.add(name + ".rope.scaling.type", GgufValue::string("linear"));
    number("rope.scaling.factor", config.rope_scaling.factor);
  }
  return metadata;
}

}  // namespace freelunch::model
