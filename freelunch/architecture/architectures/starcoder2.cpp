#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// StarCoder2: layer norms, biases everywhere, an MLP without a gate, an optional sliding window.
const Architecture& starcoder2() {
  static const Architecture architecture{
      .name = "starcoder2",
      .hugging_face_class = "Starcoder2ForCausalLM",
      .base = {.norm = NormKind::kLayer,
               .gated = false,
               .activation = Activation::kGeluTanh,
               .tied_embeddings = true,
               .qkv_bias = true,
               .output_bias = true,
               .mlp_bias = true},
      .keys = {.norm_epsilon = "norm_epsilon", .window = "sliding_window"},
      .hugging_face = {.roles =
                           with(llama_names(), {{WeightRole::kFinalNormBias, "model.norm.bias"},
                                                {WeightRole::kAttentionNormBias, "input_layernorm.bias"},
                                                {WeightRole::kMlpNormBias, "post_attention_layernorm.bias"},
                                                {WeightRole::kUp, "mlp.c_fc.weight"},
                                                {WeightRole::kUpBias, "mlp.c_fc.bias"},
                                                {WeightRole::kDown, "mlp.c_proj.weight"},
                                                {WeightRole::kDownBias, "mlp.c_proj.bias"}}),
                       .base_prefix = "model."},
      .gguf = {.name = "starcoder2", .names = gguf_table()},
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            config.qkv_bias = config.output_bias = config.mlp_bias = json.value("use_bias", true);
          },
      .write_json = [](const Config& config, nlohmann::json& json) { json["use_bias"] = config.qkv_bias; }};
  return architecture;
}

}  // namespace freelunch::model
