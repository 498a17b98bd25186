#include "freelunch/architecture/gguf_keys.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <utility>
#include <variant>

#include "freelunch/architecture/gguf_rope.h"
#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

using checkpoint::GgufMetadata;
using checkpoint::GgufValue;

/// Read for every architecture.
constexpr std::array<std::string_view, 22> kRead{
    "context_length",
    "embedding_length",
    "block_count",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "attention.layer_norm_epsilon",  // the one that the norm of the architecture has
    "rope.dimension_count",
    "rope.freq_base",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "expert_count"};

/// Of the file's history, of other uses of the model, or said by a tensor's shape.
constexpr std::array<std::string_view, 7> kHarmless{
    "vocab_size",
    "tensor_data_layout",
    "pooling_type",
    "rope.scaling.finetuned",
    "expert_used_count",
    "expert_feed_forward_length",  // of no meaning without experts
    "mm.tokens_per_image"};

template <size_t n>
bool contains(const std::array<std::string_view, n>& list, std::string_view key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

std::optional<double> number_of(const GgufValue& value) {
  if (const auto* u = std::get_if<uint64_t>(&value.data)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(&value.data)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&value.data)) return *d;
  if (const auto* b = std::get_if<bool>(&value.data)) return *b ? 1 : 0;
  return std::nullopt;
}

std::string text_of(const GgufValue& value) {
  if (const auto* b = std::get_if<bool>(&value.data)) return *b ? "true" : "false";
  if (const auto* s = std::get_if<std::string>(&value.data)) return "'" + *s + "'";
  const std::optional<double> number = number_of(value);
  return number ? fmt::format("{}", *number) : "an " + value.type;
}

/// The values under which a key changes nothing.
struct Neutral {
  std::string_view key;
  std::vector<double> values;
};

/// Keys that some version of llama.cpp knows, with the values that this model has without them.
std::vector<Neutral> neutral_values(const Config& c) {
  const auto head = static_cast<double>(c.head_dim);
  const double scale = c.attention_scale.value_or(1 / std::sqrt(head));
  const auto rotary = static_cast<double>(c.rotary_dim());
  const double window_theta = c.layer_types.back().rope_theta;
  const double norm_weights = c.experts.count > 0 && c.experts.weights_sum_to_one ? 1 : 0;
  return {{"attention.value_length", {head}},
          {"attention.key_length_swa", {head}},
          {"attention.value_length_swa", {head}},
          {"attention.causal", {1}},
          {"attention.scale", {0, scale}},
          {"attention.output_scale", {0, 1}},
          {"attention.clamp_kqv", {0}},
          {"attention.max_alibi_bias", {0}},
          {"attention.shared_kv_layers", {0}},
          {"rope.dimension_count_swa", {rotary}},
          {"rope.freq_base_swa", {window_theta}},
          {"rope.local.freq_base", {window_theta}},
          {"rope.global.freq_base", {c.layer_types[0].rope_theta}},
          {"logit_scale", {0, 1}},
          {"residual_scale", {0, 1}},
          {"embedding_scale", {0, c.embedding_scale}},
          {"embedding_length_out", {0, static_cast<double>(c.width)}},
          {"expert_shared_count", {0}},
          {"expert_shared_feed_forward_length", {0}},
          {"expert_weights_scale", {0, 1}},
          {"expert_weights_norm", {norm_weights}},
          {"expert_gating_func", {0, 1}},  // softmax
          {"expert_group_count", {0, 1}},
          {"expert_group_used_count", {0, 1}},
          {"expert_group_scale", {0, 1}},
          {"leading_dense_block_count", {0}},
          {"interleave_moe_layer_step", {0, 1}},
          {"moe_every_n_layers", {0, 1}},
          {"nextn_predict_layers", {0}},
          {"attn_logit_softcapping", {0}},
          {"final_logit_softcapping", {0}},
          {"router_logit_softcapping", {0}},
          {"use_parallel_residual", {c.parallel ? 1.0 : 0.0}}};
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-6 * std::max(std::abs(a), std::abs(b)); }

/// An array says for each block whether it has the window; a number n, that each but every nth has.
bool is_own_pattern(const GgufValue& value, const Config& c) {
  const auto* flags = std::get_if<std::vector<bool>>(&value.data);
  const std::optional<double> number = number_of(value);
  if (flags == nullptr && !number) return false;
  if (flags != nullptr && std::cmp_not_equal(flags->size(), c.blocks)) return false;
  for (int64_t b = 0; b < c.blocks; ++b) {
    const bool said = flags != nullptr ? (*flags)[static_cast<size_t>(b)]
                                       : *number > 0 && (b + 1) % static_cast<int64_t>(*number) != 0;
    if (said != c.layer_types[c.layer_type(b)].window.has_value()) return false;
  }
  return true;
}

/// Whether a key that is not read leaves the model as it is.
bool changes_nothing(std::string_view key, const GgufValue& value, const Config& config) {
  if (contains(kHarmless, key) || key.starts_with("vision.")) return true;
  const std::optional<double> number = number_of(value);
  if (key == "attention.sliding_window")
    return number && (*number <= 0 || *number >= static_cast<double>(config.max_length));
  if (key == "attention.sliding_window_pattern") return is_own_pattern(value, config);
  for (const Neutral& neutral : neutral_values(config)) {
    if (neutral.key != key || !number) continue;
    return std::any_of(neutral.values.begin(), neutral.values.end(),
                       [&](double v) { return near(v, *number); });
  }
  return false;
}

/// Whether config_from_gguf reads a key, or refuses it by itself.
bool is_read(std::string_view key, const GgufForm& form, const Config& config) {
  if (key == "attn_logit_softcapping") return form.caps_scores;
  if (key == "final_logit_softcapping") return form.caps_logits;
  if (key == "use_parallel_residual") return key == form.parallel_key;
  if (key == "expert_used_count" || key == "expert_feed_forward_length") return config.experts.count > 0;
  return contains(kRead, key) || (!form.window_key.empty() && key == form.window_key);
}

/// All elements of an array of integers, if they are the same.
template <typename T>
std::optional<int64_t> only_value(const GgufValue& value) {
  const auto* list = std::get_if<std::vector<T>>(&value.data);
  if (list == nullptr || list->empty()) return std::nullopt;
  const bool same = std::all_of(list->begin(), list->end(), [&](T v) { return v == list->front(); });
  return same && std::in_range<int64_t>(list->front()) ? std::optional(static_cast<int64_t>(list->front()))
                                                       : std::nullopt;
}

}  // namespace

int64_t gguf_size(const GgufMetadata& metadata, const std::string& key, const std::string& name) {
  const GgufValue* value = metadata.find(key);
  if (value == nullptr || !value->type.starts_with("array"))
    return static_cast<int64_t>(metadata.get_uint(key));
  for (const std::optional<int64_t>& only :
       {only_value<int32_t>(*value), only_value<int64_t>(*value), only_value<uint64_t>(*value)}) {
    if (only && *only >= 0) return *only;
  }
  fail(ErrorKind::kUnsupported,
       "{}: {} has a value of its own for each block (an {}), which is not supported", name, key,
       value->type);
}

std::vector<std::string> ignored_keys(const GgufMetadata& metadata, const Architecture& architecture,
                                      const Config& config, const std::string& name) {
  std::vector<std::string> ignored;
  const std::string prefix = std::string(architecture.gguf.name) + ".";
  for (const std::string& key : metadata.keys()) {
    if (!key.starts_with(prefix)) continue;
    const std::string_view own = std::string_view(key).substr(prefix.size());
    if (is_read(own, architecture.gguf, config)) continue;
    const GgufValue& value = *metadata.find(key);
    if (!changes_nothing(own, value, config))
      fail(ErrorKind::kUnsupported,
           "{}: the key {} = {} is not supported for {}; it may change what the model computes", name, key,
           text_of(value), config.architecture);
    ignored.push_back(key);
  }
  return ignored;
}

bool holds_rotary_frequencies(std::string_view tensor) {
  if (tensor == kRopeFrequencies || tensor == kRopeLongFactors || tensor == kRopeShortFactors) return true;
  // rotary frequencies that old converters copied; readers compute them
  return tensor.starts_with("blk.") && tensor.ends_with(".attn_rot_embd.weight");
}

}  // namespace freelunch::model
