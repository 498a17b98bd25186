#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {

/// GPT-NeoX and Pythia: both sublayers read the block's input. One matrix holds q, k and v head by head (one
/// after the other in GGUF files). A quarter of each head has rotary positions.
const Architecture& gpt_neox() {
  static const Architecture architecture{
      .name = "gpt_neox",
      .hugging_face_class = "GPTNeoXForCausalLM",
      .base = {.norm = NormKind::kLayer,
               .parallel = true,
               .gated = false,
               .activation = Activation::kGelu,
               .rotary_share = 0.25,
               .qkv_bias = true,
               .output_bias = true,
               .mlp_bias = true},
      .keys = {.kv_heads = "",
               .head_dim = "",
               .norm_epsilon = "layer_norm_eps",
               .rope_theta = "rotary_emb_base",
               .rotary_share = "rotary_pct"},
      .hugging_face =
          {.roles = {{WeightRole::kEmbedding, "gpt_neox.embed_in.weight"},
                     {WeightRole::kFinalNorm, "gpt_neox.final_layer_norm.weight"},
                     {WeightRole::kFinalNormBias, "gpt_neox.final_layer_norm.bias"},
                     {WeightRole::kHead, "embed_out.weight"},
                     {WeightRole::kAttentionNorm, "input_layernorm.weight"},
                     {WeightRole::kAttentionNormBias, "input_layernorm.bias"},
                     {WeightRole::kQuery, "attention.query.weight", "attention.query_key_value.weight"},
                     {WeightRole::kQueryBias, "attention.query.bias", "attention.query_key_value.bias"},
                     {WeightRole::kKey, "attention.key.weight", "attention.query_key_value.weight"},
                     {WeightRole::kKeyBias, "attention.key.bias", "attention.query_key_value.bias"},
                     {WeightRole::kValue, "attention.value.weight", "attention.query_key_value.weight"},
                     {WeightRole::kValueBias, "attention.value.bias", "attention.query_key_value.bias"},
                     {WeightRole::kOutput, "attention.dense.weight"},
                     {WeightRole::kOutputBias, "attention.dense.bias"},
                     {WeightRole::kMlpNorm, "post_attention_layernorm.weight"},
                     {WeightRole::kMlpNormBias, "post_attention_layernorm.bias"},
                     {WeightRole::kUp, "mlp.dense_h_to_4h.weight"},
                     {WeightRole::kUpBias, "mlp.dense_h_to_4h.bias"},
                     {WeightRole::kDown, "mlp.dense_4h_to_h.weight"},
                     {WeightRole::kDownBias, "mlp.dense_4h_to_h.bias"}},
           .block_prefix = "gpt_neox.layers.{b}.",
           .base_prefix = "gpt_neox.",
           .fusion = Fusion::kPerHead},
      .gguf = {.name = "gptneox",
               .parallel_key = "use_parallel_residual",
               .names = gguf_table(gguf_fused_qkv())},
      .read_json =
          [](Config& config, const nlohmann::json& json) {
            // transformers takes it for the rotary positions and not for the heads
            if (json.contains("head_dim") && json["head_dim"] != config.head_dim &&
                !json["head_dim"].is_null())
              fail(ErrorKind::kUnsupported,
                   "config.json: gpt_neox with a head_dim of its own is not supported");
            config.parallel = json.value("use_parallel_residual", true);
            config.qkv_bias = config.output_bias = json.value("attention_bias", true);
          },
      .write_json =
          [](const Config& config, nlohmann::json& json) {
            json["use_parallel_residual"] = config.parallel;
            json["attention_bias"] = config.qkv_bias;
          }};
  return architecture;
}

}  // namespace freelunch::model
