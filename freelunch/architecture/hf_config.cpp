#include "freelunch/architecture/hf_config.h"

#include <array>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

#include "freelunch/base/error.h"
#include "freelunch/base/json_nesting.h"

namespace freelunch::model {
namespace {

using nlohmann::json;

/// Sizes (T = int64_t) must be written as integers that fit.
template <typename T>
T required(const json& object, std::string_view key, const std::string& file) {
  constexpr bool kWhole = std::is_integral_v<T>;
  const auto it = object.find(key);
  const bool fits =
      it != object.end() && (kWhole ? it->is_number_integer() : it->is_number()) &&
      !(kWhole && it->is_number_unsigned() && it->template get<uint64_t>() > uint64_t{INT64_MAX});
  if (!fits) {
    const std::string found =
        it == object.end() ? "missing" : (it->is_structured() ? it->type_name() : it->dump());
    fail(ErrorKind::kBadFile, "{}: '{}' is {}, expected {}", file, key, found,
         kWhole ? "an integer" : "a number");
  }
  return it->template get<T>();
}

template <typename T>
T optional_number(const json& object, std::string_view key, T otherwise, const std::string& file) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  return required<T>(object, key, file);
}

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

RopeScaling read_rope_scaling(const json& scaling, const Config& config, const std::string& file) {
  RopeScaling result;
  const std::string kind = scaling.value("rope_type", scaling.value("type", std::string("default")));
  if (kind == "default") return result;
  result.factor = required<double>(scaling, "factor", file);
  if (kind == "linear") {
    result.kind = RopeScalingKind::kLinear;
  } else if (kind == "llama3") {
    result.kind = RopeScalingKind::kLlama3;
    result.low_frequency_factor = required<double>(scaling, "low_freq_factor", file);
    result.high_frequency_factor = required<double>(scaling, "high_freq_factor", file);
    result.original_length = optional_number<double>(scaling, "original_max_position_embeddings",
                                                     static_cast<double>(config.max_length), file);
  } else {
    fail(ErrorKind::kUnsupported,
         "{}: rope_type '{}' is not supported; this version handles default, linear, llama3", file, kind);
  }
  return result;
}

void read_layer_type(const json& rope, Config& config, LayerType& type, const std::string& file) {
  type.rope_theta = optional_number<double>(rope, "rope_theta", type.rope_theta, file);
  type.rope_scaling = read_rope_scaling(rope, config, file);
  config.rotary_share = optional_number<double>(rope, "partial_rotary_factor", config.rotary_share, file);
}

/// Older files hold the settings at the top level and the scaling in an object. transformers 5 writes one
/// object, or one for each layer type; "full_attention" is the first type.
void read_rope(const json& object, const ConfigKeys& keys, Config& config, const std::string& file) {
  LayerType& first = config.layer_types[0];
  first.rope_theta = optional_number<double>(object, keys.rope_theta, first.rope_theta, file);
  config.rotary_share = optional_number<double>(object, keys.rotary_share, config.rotary_share, file);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto it = object.find(key);
    if (it == object.end() || it->is_null()) continue;
    if (!it->is_object()) fail(ErrorKind::kBadFile, "{}: '{}' is not an object", file, key);
    if (!it->contains("full_attention")) {
      read_layer_type(*it, config, first, file);
      continue;
    }
    read_layer_type((*it)["full_attention"], config, first, file);
    if (config.layer_types.size() > 1 && it->contains("sliding_attention"))
      read_layer_type((*it)["sliding_attention"], config, config.layer_types[1], file);
  }
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
  config.kv_heads = optional_number<int64_t>(object, keys.kv_heads, config.heads, file);
  if (config.heads <= 0) fail(ErrorKind::kBadFile, "{}: '{}' is {}", file, keys.heads, config.heads);
  config.head_dim = optional_number<int64_t>(object, keys.head_dim, config.width / config.heads, file);
  config.max_length = optional_number<int64_t>(object, keys.max_length, config.max_length, file);
  config.norm_epsilon = optional_number<double>(object, keys.norm_epsilon, config.norm_epsilon, file);
  read_activation(object, keys, config, file);
  if (object.contains("sliding_window") && !object["sliding_window"].is_null()) {
    config.layer_types.back().window = required<int64_t>(object, "sliding_window", file);
  }
  config.tied_embeddings = object.value("tie_word_embeddings", config.tied_embeddings);
  config.bos = token_id(object, "bos_token_id");
  config.eos = token_id(object, "eos_token_id");
  read_rope(object, keys, config, file);
  if (architecture.read_json != nullptr) architecture.read_json(config, object);
  return config;
}

void write_rope(const Config& config, const ConfigKeys& keys, json& object) {
  const LayerType& type = config.layer_types[0];
  object[std::string(keys.rope_theta)] = type.rope_theta;
  if (config.rotary_share != 1) object[std::string(keys.rotary_share)] = config.rotary_share;
  if (config.layer_types.back().window) object["sliding_window"] = *config.layer_types.back().window;
  const RopeScaling& scaling = type.rope_scaling;
  if (scaling.kind == RopeScalingKind::kLinear) {
    object["rope_scaling"] = {{"rope_type", "linear"}, {"factor", scaling.factor}};
  } else if (scaling.kind == RopeScalingKind::kLlama3) {
    object["rope_scaling"] = {
        {"rope_type", "llama3"},
        {"factor", scaling.factor},
        {"low_freq_factor", scaling.low_frequency_factor},
        {"high_freq_factor", scaling.high_frequency_factor},
        {"original_max_position_embeddings", static_cast<int64_t>(scaling.original_length)}};
  }
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

json config_to_hugging_face(const Config& config) {
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
  if (config.positions == PositionKind::kRotary) write_rope(config, keys, object);
  if (config.bos) object["bos_token_id"] = *config.bos;
  if (config.eos) object["eos_token_id"] = *config.eos;
  if (architecture.write_json != nullptr) architecture.write_json(config, object);
  return object;
}

}  // namespace freelunch::model
