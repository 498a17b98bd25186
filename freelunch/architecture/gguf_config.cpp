#include "freelunch/architecture/gguf_config.h"

#include <algorithm>
#include <cmath>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/special_tokens.h"
#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

using checkpoint::GgufCheckpoint;
using checkpoint::GgufMetadata;

constexpr const char* kOriginalLength = "rope.scaling.original_context_length";

/// The file holds only the divisors of the frequencies. Llama 3.x uses the bounds 1 and 4, so the largest
/// divisor is the factor. The other divisors must then follow from llama3_divisors, or the file is refused.
RopeScaling rope_scaling_of_divisors(const GgufCheckpoint& file, LayerType type, int64_t rotary_dim,
                                     double original_length, const std::string& name) {
  const checkpoint::TensorInfo& info = file.at("rope_freqs.weight");
  if (info.elements() != rotary_dim / 2)
    fail(ErrorKind::kBadFile, "{}: rope_freqs.weight holds {} frequencies, but a head of {} has {} pairs",
         name, info.elements(), rotary_dim, rotary_dim / 2);
  std::vector<float> divisors(static_cast<size_t>(info.elements()));
  file.read_f32(info, divisors);
  type.rope_scaling = {.kind = RopeScalingKind::kLlama3,
                       .factor = divisors.empty() ? 1.0 : *std::max_element(divisors.begin(), divisors.end()),
                       .original_length = original_length};
  const std::vector<double> expected = llama3_divisors(type, rotary_dim);
  bool same = expected.size() == divisors.size();
  for (size_t i = 0; same && i < expected.size(); ++i) {
    same = std::abs(expected[i] - divisors[i]) <= 1e-3 * expected[i];
  }
  if (!same) {
    fail(ErrorKind::kUnsupported,
         "{}: rope_freqs.weight holds frequencies that are not those of Llama 3 scaling", name);
  }
  return type.rope_scaling;
}

RopeScaling read_rope_scaling(const GgufCheckpoint& file, const Config& config, const std::string& prefix,
                              const std::string& name) {
  const GgufMetadata& metadata = file.metadata();
  if (file.find("rope_freqs.weight") != nullptr) {
    const double original = metadata.has(prefix + kOriginalLength)
                                ? static_cast<double>(metadata.get_uint(prefix + kOriginalLength))
                                : RopeScaling{}.original_length;
    return rope_scaling_of_divisors(file, config.layer_types[0], config.rotary_dim(), original, name);
  }
  const std::string kind = metadata.get_string(prefix + "rope.scaling.type", "none");
  if (kind == "none") return {};
  if (kind != "linear") {
    fail(ErrorKind::kUnsupported,
         "{}: rope scaling '{}' is not supported; this version handles linear and llama3", name, kind);
  }
  return {.kind = RopeScalingKind::kLinear, .factor = metadata.get_float(prefix + "rope.scaling.factor")};
}

void read_attention(const GgufMetadata& metadata, const std::string& prefix, const GgufForm& form,
                    Config& config) {
  const auto number = [&](const char* key, double otherwise) {
    return metadata.get_float(prefix + key, otherwise);
  };
  config.layer_types[0].rope_theta = number("rope.freq_base", config.layer_types[0].rope_theta);
  if (metadata.has(prefix + "rope.dimension_count")) {
    config.rotary_share = static_cast<double>(metadata.get_uint(prefix + "rope.dimension_count")) /
                          static_cast<double>(config.head_dim);
  }
  const std::string window_key = prefix + std::string(form.window_key);
  if (!form.window_key.empty() && metadata.has(window_key))
    config.layer_types.back().window = static_cast<int64_t>(metadata.get_uint(window_key));
  if (!form.parallel_key.empty())
    config.parallel = metadata.get_bool(prefix + std::string(form.parallel_key), config.parallel);
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

/// Refuses a model that readers of its GGUF file would take for another one, because the file has no field
/// for the difference.
void refuse_unsaid(const Config& config, const Architecture& own) {
  Config read = own.base;  // as read from the sizes alone
  read.architecture = config.architecture;
  read.width = config.width;
  read.blocks = config.blocks;
  read.heads = config.heads;
  if (own.gguf.complete != nullptr) own.gguf.complete(read);
  const auto refuse_unless = [&](bool same, std::string_view what) {
    if (!same)
      fail(ErrorKind::kUnsupported, "GGUF has no field for {} of this {} model", what, config.architecture);
  };
  const double plain = 1 / std::sqrt(static_cast<double>(config.head_dim));
  const double asked = config.attention_scale.value_or(plain);
  refuse_unless(std::abs(read.attention_scale.value_or(plain) - asked) <= 1e-6 * asked,
                "the attention scale");
  refuse_unless(config.activation == read.activation, "the activation");
  refuse_unless(config.layer_type_of_block == read.layer_type_of_block, "the order of attention windows");
  for (size_t i = 1; i < config.layer_types.size(); ++i)  // the keys describe the first layer type
    refuse_unless(config.layer_types[i].rope_theta == read.layer_types[i].rope_theta,
                  "the RoPE base of windows");
  const std::vector<bool>& of_block = config.experts.of_block;
  refuse_unless(std::find(of_block.begin(), of_block.end(), false) == of_block.end(),
                "blocks without experts");
  refuse_unless(config.experts.weights_sum_to_one == read.experts.weights_sum_to_one,
                "weights of experts that do not sum to one");
}

/// Adds metadata under keys that start with the architecture's name.
class MetadataWriter {
 public:
  explicit MetadataWriter(std::string name) : name_(std::move(name)) {
    metadata_.add("general.architecture", checkpoint::GgufValue::string(name_));
  }
  void size(std::string_view key, int64_t value) {
    metadata_.add(key_of(key), checkpoint::GgufValue::uint32(static_cast<uint32_t>(value)));
  }
  void number(std::string_view key, double value) {
    metadata_.add(key_of(key), checkpoint::GgufValue::float32(static_cast<float>(value)));
  }
  void text(std::string_view key, const std::string& value) {
    metadata_.add(key_of(key), checkpoint::GgufValue::string(value));
  }
  void flag(std::string_view key, bool value) {
    metadata_.add(key_of(key), checkpoint::GgufValue::boolean(value));
  }
  GgufMetadata take() { return std::move(metadata_); }

 private:
  std::string key_of(std::string_view key) const { return name_ + "." + std::string(key); }

  std::string name_;
  GgufMetadata metadata_;
};

void write_sizes(const Config& config, MetadataWriter& out) {
  out.size("vocab_size", config.vocabulary);
  out.size("context_length", config.max_length);
  out.size("embedding_length", config.width);
  out.size("block_count", config.blocks);
  out.size("feed_forward_length", config.intermediate);
  out.size("attention.head_count", config.heads);
  out.size("attention.head_count_kv", config.kv_heads);
  out.size("attention.key_length", config.head_dim);
  out.size("attention.value_length", config.head_dim);
  out.number(
      config.norm == NormKind::kLayer ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
      config.norm_epsilon);
  if (config.experts.count == 0) return;
  out.size("expert_count", config.experts.count);
  out.size("expert_used_count", config.experts.chosen);
  out.size("expert_feed_forward_length", config.experts.intermediate);
}

void write_attention(const Config& config, const GgufForm& form, MetadataWriter& out) {
  const LayerType& first = config.layer_types[0];
  if (config.positions == PositionKind::kRotary) {
    out.size("rope.dimension_count", config.rotary_dim());
    out.number("rope.freq_base", first.rope_theta);
    const RopeScaling& scaling = first.rope_scaling;
    if (scaling.kind == RopeScalingKind::kLinear) {
      out.text("rope.scaling.type", "linear");
      out.number("rope.scaling.factor", scaling.factor);
    }
    if (scaling.kind == RopeScalingKind::kLlama3 && scaling.original_length != RopeScaling{}.original_length)
      out.size(kOriginalLength, std::llround(scaling.original_length));
  }
  const std::optional<int64_t>& window = config.layer_types.back().window;
  if (window && !form.window_key.empty()) out.size(form.window_key, *window);
  if (config.attention_soft_cap > 0) out.number("attn_logit_softcapping", config.attention_soft_cap);
  if (config.logit_soft_cap > 0) out.number("final_logit_softcapping", config.logit_soft_cap);
  if (!form.parallel_key.empty()) out.flag(form.parallel_key, config.parallel);
}

}  // namespace

Config config_from_gguf(const GgufCheckpoint& file, const std::string& name) {
  const GgufMetadata& metadata = file.metadata();
  const std::string gguf_name = metadata.get_string("general.architecture");
  const std::string prefix = gguf_name + ".";
  const bool experts =
      metadata.has(prefix + "expert_count") && metadata.get_uint(prefix + "expert_count") > 0;
  const Architecture& architecture = architecture_of_gguf(gguf_name, experts, name);
  const GgufForm& form = architecture.gguf;
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
  config.bos = special_token(metadata, "tokenizer.ggml.bos_token_id", config.vocabulary);
  config.eos = special_token(metadata, "tokenizer.ggml.eos_token_id", config.vocabulary);
  read_attention(metadata, prefix, form, config);
  read_experts(metadata, prefix, config);
  // biases have no key: the model has those whose tensors the file holds
  const auto has = [&](WeightRole role) {
    const RoleName* named = form.names.find(role);
    if (named == nullptr) return false;
    const std::string_view stored = named->stored.empty() ? named->name : named->stored;
    return file.find("blk.0." + std::string(stored)) != nullptr;
  };
  config.qkv_bias = has(WeightRole::kQueryBias);
  config.output_bias = has(WeightRole::kOutputBias);
  config.mlp_bias = has(WeightRole::kUpBias);
  if (form.complete != nullptr) form.complete(config);
  validate(config, name);
  config.layer_types[0].rope_scaling = read_rope_scaling(file, config, prefix, name);
  return config;
}

checkpoint::GgufMetadata config_to_gguf(const Config& config) {
  const Architecture& own = architecture_of_model_type(config.architecture, "model");
  if (own.gguf.name.empty())
    fail(ErrorKind::kUnsupported, "architecture '{}' cannot be written as GGUF", config.architecture);
  refuse_unsaid(config, own);
  MetadataWriter out{std::string(own.gguf.name)};
  write_sizes(config, out);
  write_attention(config, own.gguf, out);
  return out.take();
}

}  // namespace freelunch::model
