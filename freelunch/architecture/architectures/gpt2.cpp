#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {

/// GPT-2: learned positions, layer norms, one matrix for q, k and v; matrices are stored (in, out).
const Architecture& gpt2() {
  static const Architecture architecture{
      .name = "gpt2",
      .hugging_face_class = "GPT2LMHeadModel",
      .base = {.max_length = 1024,
               .norm = NormKind::kLayer,
               .gated = false,
               .activation = Activation::kGeluTanh,
               .positions = PositionKind::kLearned,
               .tied_embeddings = true,
               .qkv_bias = true,
               .output_bias = true,
               .mlp_bias = true},
      .keys = {.width = "n_embd",
               .intermediate = "n_inner",
               .blocks = "n_layer",
               .heads = "n_head",
               .kv_heads = "",
               .head_dim = "",
               .max_length = "n_positions",
               .norm_epsilon = "layer_norm_epsilon",
               .activation = "activation_function"},
      .wide_mlp = true,
      .hugging_face = {.roles = {{WeightRole::kEmbedding, "transformer.wte.weight"},
                                 {WeightRole::kPositions, "transformer.wpe.weight"},
                                 {WeightRole::kFinalNorm, "transformer.ln_f.weight"},
                                 {WeightRole::kFinalNormBias, "transformer.ln_f.bias"},
                                 {WeightRole::kHead, "lm_head.weight"},
                                 {WeightRole::kAttentionNorm, "ln_1.weight"},
                                 {WeightRole::kAttentionNormBias, "ln_1.bias"},
                                 {WeightRole::kQuery, "attn.q.weight", "attn.c_attn.weight"},
                                 {WeightRole::kQueryBias, "attn.q.bias", "attn.c_attn.bias"},
                                 {WeightRole::kKey, "attn.k.weight", "attn.c_attn.weight"},
                                 {WeightRole::kKeyBias, "attn.k.bias", "attn.c_attn.bias"},
                                 {WeightRole::kValue, "attn.v.weight", "attn.c_attn.weight"},
                                 {WeightRole::kValueBias, "attn.v.bias", "attn.c_attn.bias"},
                                 {WeightRole::kOutput, "attn.c_proj.weight"},
                                 {WeightRole::kOutputBias, "attn.c_proj.bias"},
                                 {WeightRole::kMlpNorm, "ln_2.weight"},
                                 {WeightRole::kMlpNormBias, "ln_2.bias"},
                                 {WeightRole::kUp, "mlp.c_fc.weight"},
                                 {WeightRole::kUpBias, "mlp.c_fc.bias"},
                                 {WeightRole::kDown, "mlp.c_proj.weight"},
                                 {WeightRole::kDownBias, "mlp.c_proj.bias"}},
                       .block_prefix = "transformer.h.{b}.",
                       .base_prefix = "transformer.",
                       .transposed = true},
      .gguf = {.name = "gpt2", .names = gguf_table(gguf_fused_qkv())},
      .read_json = [](Config& config, const nlohmann::json& json) {
        refuse_second_name(json, "n_embd", "hidden_size");
        refuse_second_name(json, "n_positions", "max_position_embeddings");
        refuse_second_name(json, "n_head", "num_attention_heads");
        refuse_second_name(json, "n_layer", "num_hidden_layers");
        // if false, scores are not divided by sqrt(head_dim)
        if (!json.value("scale_attn_weights", true)) config.attention_scale = 1;
        for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
          if (json.value(key, false))
            fail(ErrorKind::kUnsupported, "config.json: gpt2 with {} is not supported", key);
        }
      }};
  return architecture;
}

}  // namespace freelunch::model
