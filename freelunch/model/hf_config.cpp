#include "model/hf_config.h"

#include <nlohmann/json.hpp>
#include <type_traits>

#include "base/error.h"
#include "base/json_nesting.h"

namespace freelunch::model {
namespace {

using nlohmann::json;

/// Sizes (T = int64_t) must be written as integers that fit.
template <typename T>
T required(const json& object, const char* key, const std::string& file) {
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
T optional_number(const json& object, const char* key, T otherwise, const std::string& file) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  return required<T>(object, key, file);
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

void read_rope(const json& object, Config& config, const std::string& file) {
  config.rope_theta = optional_number<double>(object, "rope_theta", 10000.0, file);
  // transformers 5 writes both settings into one object.
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const auto it = object.find(key);
    if (it == object.end() || it->is_null()) continue;
    if (!it->is_object()) fail(ErrorKind::kBadFile, "{}: '{}' is not an object", file, key);
    config.rope_theta = optional_number<double>(*it, "rope_theta", config.rope_theta, file);
    config.rope_scaling = read_rope_scaling(*it, config, file);
  }
}

std::optional<int64_t> token_id(const json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return std::nullopt;
  const json& first = it->is_array() && !it->empty() ? it->front() : *it;
  return first.is_number_integer() ? std::optional(first.get<int64_t>()) : std::nullopt;
}

/// Weights that a quantiser packed cannot be read; a sparse archive says no more than that it is one.
void refuse_quantised(const json& object, const std::string& file) {
  const auto it = object.find("quantization_config");
  if (it == object.end() || !it->is_object()) return;
  const auto groups = it->find("config_groups");
  const bool groups_empty = groups == it->end() || groups->is_null() || groups->empty();
  const std::string method = it->value("quant_method", std::string("compressed-tensors"));
  if (method == "compressed-tensors" && groups_empty) return;
  fail(ErrorKind::kUnsupported,
       "{}: quantization_config '{}' is not supported; take the model it was made of", file, method);
}

Config read(const json& object, const std::string& file) {
  if (!object.is_object()) fail(ErrorKind::kBadFile, "{}: expected a JSON object", file);
  if (!object.contains("model_type") || !object["model_type"].is_string()) {
    fail(ErrorKind::kBadFile, "{}: 'model_type' is missing", file);
  }
  const Architecture& architecture =
      architecture_of_model_type(object["model_type"].get<std::string>(), file);
  refuse_quantised(object, file);
  const std::string activation = object.value("hidden_act", std::string("silu"));
  if (activation != "silu") {
    fail(ErrorKind::kUnsupported, "{}: hidden_act '{}' is not supported for {}", file, activation,
         architecture.name);
  }
  Config config;
  config.architecture = architecture.name;
  config.vocabulary = required<int64_t>(object, "vocab_size", file);
  config.width = required<int64_t>(object, "hidden_size", file);
  config.intermediate = required<int64_t>(object, "intermediate_size", file);
  config.blocks = required<int64_t>(object, "num_hidden_layers", file);
  config.heads = required<int64_t>(object, "num_attention_heads", file);
  config.kv_heads = optional_number<int64_t>(object, "num_key_value_heads", config.heads, file);
  if (config.heads <= 0) fail(ErrorKind::kBadFile, "{}: 'num_attention_heads' is {}", file, config.heads);
  config.head_dim = optional_number<int64_t>(object, "head_dim", config.width / config.heads, file);
  config.max_length = optional_number<int64_t>(object, "max_position_embeddings", 2048, file);
  config.norm_epsilon = optional_number<double>(object, "rms_norm_eps", 1e-6, file);
  if (object.contains("sliding_window") && !object["sliding_window"].is_null()) {
    config.sliding_window = required<int64_t>(object, "sliding_window", file);
  }
  config.tied_embeddings = object.value("tie_word_embeddings", false);
  config.bos = token_id(object, "bos_token_id");
  config.eos = token_id(object, "eos_token_id");
  read_rope(object, config, file);
  if (architecture.adjust != nullptr) architecture.adjust(config, &object);
  return config;
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
  json object{{"architectures", {architecture.hugging_face_class}},
              {"model_type", architecture.name},
              {"vocab_size", config.vocabulary},
              {"hidden_size", config.width},
              {"intermediate_size", config.intermediate},
              {"num_hidden_layers", config.blocks},
              {"num_attention_heads", config.heads},
              {"num_key_value_heads", config.kv_heads},
              {"head_dim", config.head_dim},
              {"hidden_act", "silu"},
              {"max_position_embeddings", config.max_length},
              {"rms_norm_eps", config.norm_epsilon},
              {"rope_theta", config.rope_theta},
              {"tie_word_embeddings", config.tied_embeddings},
              {"torch_dtype", "bfloat16"},
              {"use_cache", true}};
  if (config.architecture == "llama") {
    object["attention_bias"] = config.qkv_bias;
    object["mlp_bias"] = config.mlp_bias;
  }
  if (config.sliding_window) object["sliding_window"] = *config.sliding_window;
  if (config.bos) object["bos_token_id"] = *config.bos;
  if (config.eos) object["eos_token_id"] = *config.eos;
  const RopeScaling& scaling = config.rope_scaling;
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
  return object;
}

}  // namespace freelunch::model
