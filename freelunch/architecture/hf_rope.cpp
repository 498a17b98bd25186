#include "freelunch/architecture/hf_rope.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "freelunch/architecture/json_numbers.h"
#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

using nlohmann::json;

constexpr const char* kOriginalLength = "original_max_position_embeddings";

constexpr std::array<std::pair<std::string_view, RopeScalingKind>, 7> kKinds{{
    {"default", RopeScalingKind::kNone},
    {"linear", RopeScalingKind::kLinear},
    {"dynamic", RopeScalingKind::kDynamic},
    {"yarn", RopeScalingKind::kYarn},
    {"longrope", RopeScalingKind::kLongRope},
    {"su", RopeScalingKind::kLongRope},  // its name in the first Phi-3 models
    {"llama3", RopeScalingKind::kLlama3},
}};

RopeScalingKind kind_of(const std::string& name, const std::string& file) {
  std::string names;
  for (const auto& [known, kind] : kKinds) {
    if (known == name) return kind;
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  fail(ErrorKind::kUnsupported, "{}: rope_type '{}' is not supported; this version handles {}", file, name,
       names);
}

std::string_view name_of(RopeScalingKind kind) {
  for (const auto& [name, known] : kKinds) {
    if (known == kind) return name;
  }
  return "default";
}

std::vector<double> factors(const json& rope, const char* key, const std::string& file) {
  const auto it = rope.find(key);
  if (it == rope.end() || !it->is_array())
    fail(ErrorKind::kBadFile, "{}: '{}' is {}, expected a list of numbers", file, key,
         it == rope.end() ? "missing" : it->type_name());
  return it->get<std::vector<double>>();
}

/// The factor of cos and sin under yarn. mscale and mscale_all_dim are DeepSeek's.
double yarn_attention_factor(const json& rope, double factor, const std::string& file) {
  const double m = optional_number<double>(rope, "mscale", 0, file);
  const double all = optional_number<double>(rope, "mscale_all_dim", 0, file);
  if (m == 0 || all == 0 || factor <= 1) return default_attention_factor(RopeScalingKind::kYarn, factor, 1);
  const double added = default_attention_factor(RopeScalingKind::kYarn, factor, 1) - 1;
  return (m * added + 1) / (all * added + 1);
}

/// `top` is the whole config.json, in which Phi-3 has the original length; it precedes the one in `rope`.
RopeScaling read_scaling(const json& rope, const json& top, RopeScalingKind kind, const Config& config,
                         const std::string& file) {
  RopeScaling s{.kind = kind};
  if (kind == RopeScalingKind::kNone) return s;
  const auto length = static_cast<double>(config.max_length);
  const bool has_original = kind == RopeScalingKind::kLlama3 || kind == RopeScalingKind::kYarn ||
                            kind == RopeScalingKind::kLongRope;
  if (has_original) {
    s.original_length = optional_number<double>(rope, kOriginalLength, length, file);
    s.original_length = optional_number<double>(top, kOriginalLength, s.original_length, file);
  }
  const bool by_lengths = kind == RopeScalingKind::kLongRope ||
                          (kind == RopeScalingKind::kYarn && rope.contains("factor"));  // yarn: if it is null
  const double factor = by_lengths ? optional_number<double>(rope, "factor", length / s.original_length, file)
                                   : required<double>(rope, "factor", file);
  if (kind != RopeScalingKind::kLongRope) s.factor = factor;
  if (kind == RopeScalingKind::kLlama3) {
    s.low_frequency_factor = required<double>(rope, "low_freq_factor", file);
    s.high_frequency_factor = required<double>(rope, "high_freq_factor", file);
  }
  if (kind == RopeScalingKind::kYarn) {
    s.beta_fast = optional_number<double>(rope, "beta_fast", s.beta_fast, file);
    s.beta_slow = optional_number<double>(rope, "beta_slow", s.beta_slow, file);
    if (s.beta_fast == 0) s.beta_fast = RopeScaling{}.beta_fast;  // zero counts as absent in transformers
    if (s.beta_slow == 0) s.beta_slow = RopeScaling{}.beta_slow;
    s.truncate = rope.value("truncate", true);
    s.attention_factor =
        optional_number<double>(rope, "attention_factor", yarn_attention_factor(rope, factor, file), file);
  }
  if (kind == RopeScalingKind::kLongRope) {
    s.short_factors = factors(rope, "short_factor", file);
    s.long_factors = factors(rope, "long_factor", file);
    s.attention_factor = optional_number<double>(
        rope, "attention_factor", default_attention_factor(kind, factor, s.original_length), file);
  }
  return s;
}

void read_layer_type(const json& rope, const json& top, const Architecture& architecture, Config& config,
                     LayerType& type, const std::string& file) {
  const ConfigKeys& keys = architecture.keys;
  type.rope_theta = optional_number<double>(rope, "rope_theta", type.rope_theta, file);
  const std::string name = rope.value("rope_type", rope.value("type", std::string("default")));
  RopeScalingKind kind = kind_of(name, file);
  if (architecture.longrope_only && kind == RopeScalingKind::kYarn) kind = RopeScalingKind::kLongRope;
  if (architecture.longrope_only && kind != RopeScalingKind::kNone && kind != RopeScalingKind::kLongRope)
    fail(ErrorKind::kUnsupported, "{}: rope_type '{}' is not supported for {}", file, name,
         config.architecture);
  type.rope_scaling = read_scaling(rope, top, kind, config, file);
  const double share = optional_number<double>(
      rope, "partial_rotary_factor", optional_number<double>(top, "partial_rotary_factor", 1.0, file), file);
  if (!keys.rotary_share.empty()) {
    config.rotary_share = optional_number<double>(rope, "partial_rotary_factor", config.rotary_share, file);
  } else if (kind != RopeScalingKind::kNone && share != 1) {
    // transformers ignores the share in plain rotary positions and fails with any other
    fail(ErrorKind::kUnsupported, "{}: partial_rotary_factor {} with rope_type '{}' is not supported for {}",
         file, share, name, config.architecture);
  }
}

const json& object_or_empty(const json& object, const char* key, const std::string& file) {
  static const json empty = json::object();
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return empty;
  if (!it->is_object()) fail(ErrorKind::kBadFile, "{}: '{}' is not an object", file, key);
  return *it;
}

/// Gemma 3: an object of its own for each layer type; rope_scaling is of full attention.
void read_each_layer_type(const json& object, const Architecture& architecture, Config& config,
                          const std::string& file) {
  const json& parameters = object_or_empty(object, "rope_parameters", file);
  json full = object_or_empty(parameters, "full_attention", file);
  full.update(object_or_empty(object, "rope_scaling", file));
  const json& window = object_or_empty(parameters, "sliding_attention", file);
  if (full.contains("truncate") || window.contains("truncate"))
    fail(ErrorKind::kUnsupported, "{}: 'truncate' for one layer type is not supported", file);
  json top = object;
  top.erase(kOriginalLength);  // only the lengths inside count
  read_layer_type(full, top, architecture, config, config.layer_types[0], file);
  read_layer_type(window, top, architecture, config, config.layer_types[1], file);
}

json scaling_json(const RopeScaling& s) {
  json rope{{"rope_type", name_of(s.kind)}};
  if (s.kind != RopeScalingKind::kLongRope) rope["factor"] = s.factor;
  if (s.kind == RopeScalingKind::kLlama3) {
    rope["low_freq_factor"] = s.low_frequency_factor;
    rope["high_freq_factor"] = s.high_frequency_factor;
  }
  if (s.kind == RopeScalingKind::kYarn) {
    rope["beta_fast"] = s.beta_fast;
    rope["beta_slow"] = s.beta_slow;
    if (!s.truncate) rope["truncate"] = false;
  }
  if (s.kind == RopeScalingKind::kLongRope) {
    rope["short_factor"] = s.short_factors;
    rope["long_factor"] = s.long_factors;
  }
  if (s.kind == RopeScalingKind::kLinear || s.kind == RopeScalingKind::kDynamic) return rope;
  rope[kOriginalLength] = static_cast<int64_t>(s.original_length);
  if (s.kind != RopeScalingKind::kLlama3) rope["attention_factor"] = s.attention_factor;
  return rope;
}

}  // namespace

void read_rope(const json& object, const Architecture& architecture, Config& config,
               const std::string& file) {
  const ConfigKeys& keys = architecture.keys;
  LayerType& first = config.layer_types[0];
  first.rope_theta = optional_number<double>(object, keys.rope_theta, first.rope_theta, file);
  if (!keys.rotary_share.empty())
    config.rotary_share = optional_number<double>(object, keys.rotary_share, config.rotary_share, file);
  if (architecture.rope_of_each_layer_type) {
    if (!keys.window_rope_theta.empty())
      config.layer_types[1].rope_theta =
          optional_number<double>(object, keys.window_rope_theta, config.layer_types[1].rope_theta, file);
    return read_each_layer_type(object, architecture, config, file);
  }
  const json& scaling = object_or_empty(object, "rope_scaling", file);
  const json& rope = scaling.empty() ? object_or_empty(object, "rope_parameters", file) : scaling;
  for (const char* nested : {"full_attention", "sliding_attention"}) {
    if (rope.contains(nested))
      fail(ErrorKind::kUnsupported, "{}: rotary positions of their own for '{}' are not supported for {}",
           file, nested, config.architecture);
  }
  json top = object;
  if (architecture.original_length > 0 &&
      !(top.contains(kOriginalLength) && top[kOriginalLength].is_number()))
    top[kOriginalLength] = architecture.original_length;
  read_layer_type(rope, top, architecture, config, first, file);
  for (LayerType& type : config.layer_types) {  // all have the same
    type.rope_theta = first.rope_theta;
    type.rope_scaling = first.rope_scaling;
  }
}

void write_rope(const Config& config, const Architecture& architecture, json& object) {
  const ConfigKeys& keys = architecture.keys;
  const LayerType& type = config.layer_types[0];
  object[std::string(keys.rope_theta)] = type.rope_theta;
  if (config.rotary_share != architecture.base.rotary_share && !keys.rotary_share.empty())
    object[std::string(keys.rotary_share)] = config.rotary_share;
  if (architecture.rope_of_each_layer_type)
    object[std::string(keys.window_rope_theta)] = config.layer_types[1].rope_theta;
  const RopeScaling& scaling = type.rope_scaling;
  if (scaling.kind == RopeScalingKind::kNone) return;
  object["rope_scaling"] = scaling_json(scaling);
  if (architecture.original_length > 0)
    object[kOriginalLength] = static_cast<int64_t>(scaling.original_length);
}

}  // namespace freelunch::model
