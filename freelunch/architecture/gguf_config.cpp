#include "freelunch/architecture/gguf_config.h"

#include <algorithm>
#include <cmath>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/gguf_keys.h"
#include "freelunch/architecture/gguf_rope.h"
#include "freelunch/architecture/special_tokens.h"
#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

using checkpoint::GgufCheckpoint;
using checkpoint::GgufMetadata;

void read_attention(const GgufMetadata& metadata, const std::string& prefix, const Architecture& architecture,
                    const std::string& name, Config& config) {
  const GgufForm& form = architecture.gguf;
  const auto number = [&](const char* key, double otherwise) {
    return metadata.get_float(prefix + key, otherwise);
  };
  // llama.cpp assumes 10000 for all, also where another base is usual
  const bool assumed = !metadata.has(prefix + "rope.freq_base") && config.positions == PositionKind::kRotary;
  if (assumed && config.layer_types[0].rope_theta != LayerType{}.rope_theta)
    fail(ErrorKind::kUnsupported, "{}: {}rope.freq_base is missing, which is not supported for {}", name,
         prefix, config.architecture);
  config.layer_types[0].rope_theta = number("rope.freq_base", config.layer_types[0].rope_theta);
  for (size_t i = 1; i < config.layer_types.size(); ++i)
    config.layer_types[i].rope_theta = architecture.rope_of_each_layer_type
                                           ? number("rope.freq_base_swa", config.layer_types[i].rope_theta)
                                           : config.layer_types[0].rope_theta;
  config.rotary_share = 1;  // without the key
  if (metadata.has(prefix + "rope.dimension_count"))
    config.set_rotary_dim(
        static_cast<int64_t>(metadata.get_uint(prefix + "rope.dimension_count") & INT32_MAX));
  const std::string window_key = prefix + std::string(form.window_key);
  if (!form.window_key.empty() && metadata.has(window_key)) {
    const uint64_t window = metadata.get_uint(window_key);
    config.layer_types.back().window = static_cast<int64_t>(window);
    if (window == 0 && config.layer_types.size() == 1) config.layer_types[0].window.reset();  // Phi-4
  } else if (architecture
                 .rope_of_each_layer_type) {  // readers would take every block for one of full attention
    fail(ErrorKind::kUnsupported, "{}: {} is missing, which is not supported for {}", name, window_key,
         config.architecture);
  }
  if (!form.parallel_key.empty())
    config.parallel = metadata.get_bool(prefix + std::string(form.parallel_key));
  if (form.caps_scores)
    config.attention_soft_cap = number("attn_logit_softcapping", config.attention_soft_cap);
  if (form.caps_logits) config.logit_soft_cap = number("final_logit_softcapping", config.logit_soft_cap);
}

void read_experts(const GgufMetadata& metadata, const std::string& prefix, Config& config) {
  if (config.experts.count == 0) return;
  config.experts.count = static_cast<int64_t>(metadata.get_uint(prefix + "expert_count"));
  config.experts.chosen = static_cast<int64_t>(metadata.get_uint(prefix + "expert_used_count"));
  config.experts.intermediate = static_cast<int64_t>(
      metadata.get_uint(prefix + "expert_feed_forward_length", static_cast<uint64_t>(config.intermediate)));
}

/// The biases have no key: the model has those whose tensors the file holds. Each kind must be complete: for
/// every matrix of the kind, in every block. Throws Unsupported, naming a tensor that is there and one that
/// is not.
void read_biases(const GgufCheckpoint& file, const Architecture& architecture, const std::string& name,
                 Config& config) {
  const auto holds_all = [&](const std::vector<WeightRole::Kind>& roles) {
    std::string present, missing;
    for (int64_t b = 0; b < config.blocks; ++b) {
      for (const WeightRole::Kind role : roles) {
        const RoleName* named = architecture.gguf.names.find(role);
        if (named == nullptr) continue;
        const std::string_view stored = named->stored.empty() ? named->name : named->stored;
        const std::string tensor = fmt::format("blk.{}.{}", b, stored);
        (file.find(tensor) != nullptr ? present : missing) = tensor;
        if (!present.empty() && !missing.empty())
          fail(ErrorKind::kUnsupported,
               "{}: has the bias '{}' but not '{}'; biases of some matrices only are not supported", name,
               present, missing);
      }
    }
    return !present.empty();
  };
  config.qkv_bias = holds_all({WeightRole::kQueryBias, WeightRole::kKeyBias, WeightRole::kValueBias});
  config.output_bias = holds_all({WeightRole::kOutputBias});
  const bool experts = config.experts.count > 0;
  config.mlp_bias =
      !experts &&
      (config.gated ? holds_all({WeightRole::kGateBias, WeightRole::kUpBias, WeightRole::kDownBias})
                    : holds_all({WeightRole::kUpBias, WeightRole::kDownBias}));
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
  for (size_t i = 1; i < config.layer_types.size(); ++i) {  // the keys describe the first layer type
    const LayerType& assumed = own.rope_of_each_layer_type ? read.layer_types[i] : config.layer_types[0];
    refuse_unless(config.layer_types[i].rope_theta == assumed.rope_theta, "the RoPE base of windows");
    refuse_unless(config.layer_types[i].rope_scaling == assumed.rope_scaling, "the RoPE scaling of windows");
  }
  refuse_unless(own.gguf.caps_scores || config.attention_soft_cap == 0, "the cap of scores");
  refuse_unless(own.gguf.caps_logits || config.logit_soft_cap == 0, "the cap of logits");
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
  }
  const std::optional<int64_t>& window = config.layer_types.back().window;
  if (window && !form.window_key.empty()) out.size(form.window_key, *window);
  if (form.caps_scores) out.number("attn_logit_softcapping", config.attention_soft_cap);
  if (form.caps_logits && config.logit_soft_cap > 0)
    out.number("final_logit_softcapping", config.logit_soft_cap);
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
  const auto size = [&](const char* key) { return gguf_size(metadata, prefix + key, name); };
  const auto optional_size = [&](const char* key, int64_t otherwise) {
    return metadata.has(prefix + key) ? size(key) : otherwise;
  };
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
  config.kv_heads = optional_size("attention.head_count_kv", config.heads);
  if (config.heads <= 0)
    fail(ErrorKind::kBadFile, "{}: {}attention.head_count is {}", name, prefix, config.heads);
  config.head_dim = optional_size("attention.key_length", config.width / config.heads);
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
  read_attention(metadata, prefix, architecture, name, config);
  read_experts(metadata, prefix, config);
  read_biases(file, architecture, name, config);
  if (form.complete != nullptr) form.complete(config);
  validate(config, name);
  if (config.positions == PositionKind::kRotary) {
    const RopeScaling scaling = read_rope_scaling(file, config, form, prefix, name);
    for (LayerType& type : config.layer_types) {
      if (&type == config.layer_types.data() || !architecture.rope_of_each_layer_type)
        type.rope_scaling = scaling;
    }
    validate(config, name);
  }
  ignored_keys(metadata, architecture, config, name);  // refuses what is neither read nor harmless
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
  GgufMetadata metadata = out.take();
  if (config.positions == PositionKind::kRotary) write_rope_scaling(config, own.gguf, metadata);
  return metadata;
}

}  // namespace freelunch::model
