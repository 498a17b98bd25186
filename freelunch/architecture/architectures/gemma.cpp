#include "freelunch/architecture/architectures/gemma.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

/// Every `pattern`th block has full attention, the others have the window.
void alternate(Config& config, int64_t pattern) {
  for (int64_t b = 0; b < config.blocks; ++b)
    config.layer_type_of_block.push_back((b + 1) % pattern == 0 ? 0 : 1);
}

/// Gemma multiplies embeddings by the root of the width, in fp32.
void scale_embeddings(Config& config) {
  config.embedding_scale = std::sqrt(static_cast<float>(config.width));
}

}  // namespace

Config gemma_base(std::vector<LayerType> layer_types) {
  return {.norm = NormKind::kRmsPlusOne,
          .norm_place = NormPlace::kBeforeAndAfter,
          .norm_epsilon = 1e-6,
          .activation = Activation::kGeluTanh,
          .layer_types = std::move(layer_types),
          .tied_embeddings = true};
}

const std::vector<RoleName>& gemma_names() {
  static const std::vector<RoleName> names =
      with(llama_names(), {{WeightRole::kAttentionPostNorm, "post_attention_layernorm.weight"},
                           {WeightRole::kMlpNorm, "pre_feedforward_layernorm.weight"},
                           {WeightRole::kMlpPostNorm, "post_feedforward_layernorm.weight"}});
  return names;
}

void read_gemma(Config& config, const nlohmann::json& json, int64_t pattern) {
  scale_embeddings(config);
  const auto number = [&](const char* key, double otherwise) {
    if (!json.contains(key)) return otherwise;
    return json[key].is_null() ? 0.0 : json[key].get<double>();
  };
  if (json.contains("use_bidirectional_attention") && json["use_bidirectional_attention"] == true)
    fail(ErrorKind::kUnsupported, "config.json: {} with bidirectional attention is not supported",
         config.architecture);
  config.qkv_bias = config.output_bias = json.value("attention_bias", false);
  config.attention_scale = 1 / std::sqrt(number("query_pre_attn_scalar", 256));
  config.attention_soft_cap = number("attn_logit_softcapping", config.attention_soft_cap);
  config.logit_soft_cap = number("final_logit_softcapping", config.logit_soft_cap);
  config.layer_types[1].rope_theta = number("rope_local_base_freq", config.layer_types[1].rope_theta);
  const auto own_pattern = static_cast<int64_t>(
      number("sliding_window_pattern", number("_sliding_window_pattern", static_cast<double>(pattern))));
  if (const auto it = json.find("layer_types"); it != json.end() && it->is_array()) {
    for (const auto& type : *it) config.layer_type_of_block.push_back(type == "sliding_attention" ? 1 : 0);
    return;
  }
  if (own_pattern < 1) fail(ErrorKind::kBadFile, "config.json: sliding_window_pattern is {}", own_pattern);
  alternate(config, own_pattern);
}

void complete_gemma(Config& config, const GemmaGguf& implied) {
  scale_embeddings(config);
  if (config.blocks == implied.blocks_of_27b) {
    const int64_t width_per_head = config.width / config.heads;  // not head_dim
    config.attention_scale = 1 / std::sqrt(static_cast<double>(width_per_head));
  }
  alternate(config, implied.pattern);
}

void write_gemma(const Config& config, nlohmann::json& json) {
  json["hidden_act"] = json["hidden_activation"];
  const double scale = config.attention_scale.value_or(1 / std::sqrt(static_cast<double>(config.head_dim)));
  json["query_pre_attn_scalar"] = static_cast<int64_t>(std::lround(1 / (scale * scale)));
  json["attn_logit_softcapping"] =
      config.attention_soft_cap > 0 ? nlohmann::json(config.attention_soft_cap) : nlohmann::json();
  json["final_logit_softcapping"] =
      config.logit_soft_cap > 0 ? nlohmann::json(config.logit_soft_cap) : nlohmann::json();
  json["rope_local_base_freq"] = config.layer_types[1].rope_theta;
  for (const int64_t type : config.layer_type_of_block)
    json["layer_types"].push_back(type == 1 ? "sliding_attention" : "full_attention");
}

}  // namespace freelunch::model
