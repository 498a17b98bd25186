#include "freelunch/architecture/architectures/gemma.h"

#include <algorithm>
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

void read_layer_types(Config& config, const nlohmann::json& json, int64_t pattern) {
  const auto it = json.find("layer_types");
  if (it == json.end() || it->is_null()) {
    if (pattern < 1) fail(ErrorKind::kBadFile, "config.json: sliding_window_pattern is {}", pattern);
    return alternate(config, pattern);
  }
  for (const auto& type : *it) {
    if (type != "sliding_attention" && type != "full_attention")
      fail(ErrorKind::kUnsupported, "config.json: the layer type {} is not supported", type.dump());
    config.layer_type_of_block.push_back(type == "sliding_attention" ? 1 : 0);
  }
}

/// Gemma multiplies embeddings by the root of the width, in fp32.
void scale_embeddings(Config& config) {
  config.embedding_scale = std::sqrt(static_cast<float>(config.width));
}

}  // namespace

Config gemma_base(std::vector<LayerType> layer_types) {
  return {.kv_heads = 4,
          .head_dim = 256,
          .norm = NormKind::kRmsPlusOne,
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
  if (json.contains("use_bidirectional_attention") && json["use_bidirectional_attention"] == true)
    fail(ErrorKind::kUnsupported, "config.json: {} with bidirectional attention is not supported",
         config.architecture);
  config.qkv_bias = config.output_bias = json.value("attention_bias", false);
  const auto scalar = json.value("query_pre_attn_scalar", 256.0);
  if (!(scalar > 0)) fail(ErrorKind::kBadFile, "config.json: query_pre_attn_scalar is {}", scalar);
  config.attention_scale = 1 / std::sqrt(scalar);
  read_cap(json, "final_logit_softcapping", config.logit_soft_cap);
  read_layer_types(config, json, pattern);
  const auto& types = config.layer_type_of_block;
  if (!config.layer_types[1].window && std::find(types.begin(), types.end(), 1) != types.end())
    fail(ErrorKind::kUnsupported, "config.json: sliding attention without a sliding_window is not supported");
}

void read_cap(const nlohmann::json& json, const char* key, double& cap) {
  const auto it = json.find(key);
  if (it == json.end()) return;
  cap = it->is_null() ? 0 : it->get<double>();
  if (!it->is_null() && !(cap > 0))
    fail(ErrorKind::kBadFile, "config.json: {} is {}, expected a positive number or null", key, cap);
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
  json["final_logit_softcapping"] =
      config.logit_soft_cap > 0 ? nlohmann::json(config.logit_soft_cap) : nlohmann::json();
  for (const int64_t type : config.layer_type_of_block)
    json["layer_types"].push_back(type == 1 ? "sliding_attention" : "full_attention");
}

}  // namespace freelunch::model
