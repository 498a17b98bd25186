#include "freelunch/architecture/hf_config.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "freelunch/architecture/hf_rope.h"
#include "freelunch/architecture/json_numbers.h"
#include "freelunch/base/error.h"
#include "freelunch/base/json_nesting.h"

namespace freelunch::model {
namespace {

using nlohmann::json;

constexpr std::array<std::pair<std::string_view, Activation>, 6> kActivations{{
    {"silu", Activation::kSilu},
    {"gelu", Activation::kGelu},
    {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"gelu_new", Activation::kGeluTanh},  // the same formula under an older name
    {"gelu_fast", Activation::kGeluTanh},
    {"relu", Activation::kRelu},
}};

void read_activation(const json& object, const ConfigKeys& keys, Config& config, const std::string& file) {
  const auto it = object.find(keys.activation);
  if (it == object.end()) return;
  const auto text = it->get<std::string>();
  for (const auto& [name, activation] : kActivations) {
    if (name == text) {
      config.activation = activation;
      return;
    }
  }
  fail(ErrorKind::kUnsupported, "{}: {} '{}' is not supported for {}", file, keys.activation, text,
       config.architecture);
}

/// Absent: the default of the architecture, or all heads. Null: all heads.
int64_t kv_heads(const json& object, const Architecture& architecture, const Config& config,
                 const std::string& file) {
  const std::string_view key = architecture.keys.kv_heads;
  if (!object.contains(key) && architecture.base.kv_heads > 0) return architecture.base.kv_heads;
  return optional_number<int64_t>(object, key, config.heads, file);
}

/// Absent: the default of the architecture if it has one, which null does not replace.
int64_t head_dim(const json& object, const Architecture& architecture, const Config& config,
                 const std::string& file) {
  const std::string_view key = architecture.keys.head_dim;
  if (architecture.base.head_dim == 0)
    return optional_number<int64_t>(object, key, config.width / config.heads, file);
  return object.contains(key) ? required<int64_t>(object, key, file) : architecture.base.head_dim;
}

/// Null: no window.
void read_window(const json& object, const ConfigKeys& keys, Config& config, const std::string& file) {
  if (keys.window.empty() || !object.contains(keys.window)) return;
  std::optional<int64_t>& window = config.layer_types.back().window;
  window.reset();
  if (!object[std::string(keys.window)].is_null()) window = required<int64_t>(object, keys.window, file);
}

std::optional<int64_t> token_id(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return std::nullopt;
  const json& first = it->is_array() && !it->empty() ? it->front() : *it;
  return first.is_number_integer() ? std::optional(first.get<int64_t>()) : std::nullopt;
}

/// Weights packed by a quantiser cannot be read. A sparse archive also has a quantization_config, but one
/// without groups.
void refuse_quantised(const json& object, const std::string& file) {
  const auto it = object.find("quantization_config");
  if (it == object.end() || !it->is_object()) return;
  const auto groups = it->find("config_groups");
  const bool groups_empty = groups == it->end() || groups->is_null() || groups->empty();
  const std::string method = it->value("quant_method", std::string("compressed-tensors"));
  if (method == "compressed-tensors" && groups_empty) return;
  fail(ErrorKind::kUnsupported,
       "{}: quantization_config '{}' is not supported; use the model it was made from", file, method);
}

Config read(const json& object, const std::string& file) {
  if (!object.is_object()) fail(ErrorKind::kBadFile, "{}: expected a JSON object", file);
  if (!object.contains("model_type") || !object["model_type"].is_string()) {
    fail(ErrorKind::kBadFile, "{}: 'model_type' is missing", file);
  }
  const Architecture& architecture =
      architecture_of_model_type(object["model_type"].get<std::string>(), file);
  refuse_quantised(object, file);
  const ConfigKeys& keys = architecture.keys;
  Config config = architecture.base;
  config.architecture = architecture.name;
  config.vocabulary = required<int64_t>(object, keys.vocabulary, file);
  config.width = required<int64_t>(object, keys.width, file);
  config.embedding_width = config.width;
  config.intermediate =
      architecture.wide_mlp  // four times the width without a key
          ? optional_number<int64_t>(object, keys.intermediate, 4 * (config.width & INT32_MAX), file)
          : required<int64_t>(object, keys.intermediate, file);
  config.blocks = required<int64_t>(object, keys.blocks, file);
  if (config.blocks <= 0 || config.blocks > kMostBlocks)
    fail(ErrorKind::kBadFile, "{}: '{}' is {}, expected 1 to {}", file, keys.blocks, config.blocks,
         kMostBlocks);
  config.heads = required<int64_t>(object, keys.heads, file);
  config.kv_heads = kv_heads(object, architecture, config, file);
  if (config.heads <= 0) fail(ErrorKind::kBadFile, "{}: '{}' is {}", file, keys.heads, config.heads);
  config.head_dim = head_dim(object, architecture, config, file);
  // null is no default here: transformers refuses it
  if (object.contains(keys.max_length)) config.max_length = required<int64_t>(object, keys.max_length, file);
  if (object.contains(keys.norm_epsilon))
    config.norm_epsilon = required<double>(object, keys.norm_epsilon, file);
  read_activation(object, keys, config, file);
  read_window(object, keys, config, file);
  config.tied_embeddings = object.value("tie_word_embeddings", config.tied_embeddings);
  config.bos = token_id(object, "bos_token_id");
  config.eos = token_id(object, "eos_token_id");
  if (config.positions == PositionKind::kRotary) read_rope(object, architecture, config, file);
  if (architecture.read_json != nullptr) architecture.read_json(config, object);
  return config;
}

/// Refuses a model that readers of `object` would take for another one, because config.json has no key for
/// the difference.
void refuse_unsaid(const Config& config, const json& object) {
  const Config read = config_from_hugging_face(object, "config.json");
  const auto refuse_unless = [&](bool same, std::string_view what) {
    if (!same)
      fail(ErrorKind::kUnsupported, "config.json has no key for {} of this {} model", what,
           config.architecture);
  };
  refuse_unless(config.rotary_share == read.rotary_share, "the share of rotary dimensions");
  refuse_unless(config.layer_types == read.layer_types, "the rotary positions or windows");
  refuse_unless(config.layer_type_of_block == read.layer_type_of_block, "the order of attention windows");
  refuse_unless(config.qkv_bias == read.qkv_bias && config.output_bias == read.output_bias &&
                    config.mlp_bias == read.mlp_bias,
                "the biases");
  refuse_unless(
      config.attention_soft_cap == read.attention_soft_cap && config.logit_soft_cap == read.logit_soft_cap,
      "the soft caps");
  const double plain = 1 / std::sqrt(static_cast<double>(config.head_dim));
  const double asked = config.attention_scale.value_or(plain);
  refuse_unless(std::abs(read.attention_scale.value_or(plain) - asked) <= 1e-6 * asked,
                "the attention scale");
  refuse_unless(config.head_dim == read.head_dim && config.kv_heads == read.kv_heads,
                "the size of the heads");
  refuse_unless(config.parallel == read.parallel, "the order of sublayers");
  refuse_unless(config.activation == read.activation, "the activation");
  refuse_unless(config.embedding_scale == read.embedding_scale, "the scale of embeddings");
  const Experts &a = config.experts, &b = read.experts;
  bool same = a.count == b.count && a.chosen == b.chosen && a.intermediate == b.intermediate &&
              a.weights_sum_to_one == b.weights_sum_to_one;
  for (int64_t block = 0; block < config.blocks; ++block)
    same = same && config.has_experts(block) == read.has_experts(block);
  refuse_unless(same, "the experts");
}

}  // namespace

Config parse_config(std::string_view text, const std::string& file) {
  refuse_deep_nesting(text, file);
  json object;
  try {
    object = json::parse(text);
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: not valid JSON ({})", file, error.what());
  }
  return config_from_hugging_face(object, file);
}

Config config_from_hugging_face(const json& object, const std::string& file) {
  try {
    Config config = read(object, file);
    validate(config, file);
    return config;
  } catch (const json::exception& error) {
    fail(ErrorKind::kBadFile, "{}: a key has the wrong type ({})", file, error.what());
  }
}

json config_keys(const Config& config) {
  const Architecture& architecture = architecture_of_model_type(config.architecture, "model");
  const ConfigKeys& keys = architecture.keys;
  json object{{"architectures", {architecture.hugging_face_class}},
              {"model_type", architecture.name},
              {"tie_word_embeddings", config.tied_embeddings},
              {"torch_dtype", "bfloat16"},
              {"use_cache", true}};
  const auto put = [&](std::string_view key, const json& value) {
    if (!key.empty()) object[std::string(key)] = value;
  };
  put(keys.vocabulary, config.vocabulary);
  put(keys.width, config.width);
  put(keys.intermediate, config.intermediate);
  put(keys.blocks, config.blocks);
  put(keys.heads, config.heads);
  put(keys.kv_heads, config.kv_heads);
  put(keys.head_dim, config.head_dim);
  put(keys.max_length, config.max_length);
  put(keys.norm_epsilon, config.norm_epsilon);
  for (const auto& [name, activation] : kActivations) {
    if (activation != config.activation) continue;
    put(keys.activation, name);
    break;
  }
  if (config.positions == PositionKind::kRotary) write_rope(config, architecture, object);
  put(keys.window, config.layer_types.back().window ? json(*config.layer_types.back().window) : json());
  if (config.bos) object["bos_token_id"] = *config.bos;
  if (config.eos) object["eos_token_id"] = *config.eos;
  if (architecture.write_json != nullptr) architecture.write_json(config, object);
  return object;
}

json config_to_hugging_face(const Config& config) {
  json object = config_keys(config);
  refuse_unsaid(config, object);
  return object;
}

}  // namespace freelunch::model
