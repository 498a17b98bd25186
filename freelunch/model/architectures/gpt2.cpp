#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/architecture.h"

namespace freelunch::model {

/// GPT-2: learned positions, layer norms, one matrix for q, k and v; matrices are stored (in, out).
const Architecture& gpt2() {
  static const Architecture architecture{
      .name = "gpt2",
      .hugging_face_class = "GPT2LMHeadModel",
      .gguf_name = "gpt2",
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
      .hugging_face = {.parts = {{Part::kEmbedding, "transformer.wte.weight"},
                                 {Part::kPositions, "transformer.wpe.weight"},
                                 {Part::kFinalNorm, "transformer.ln_f.weight"},
                                 {Part::kFinalNormBias, "transformer.ln_f.bias"},
                                 {Part::kHead, "lm_head.weight"},
                                 {Part::kAttentionNorm, "ln_1.weight"},
                                 {Part::kAttentionNormBias, "ln_1.bias"},
                                 {Part::kQuery, "attn.q.weight", "attn.c_attn.weight"},
                                 {Part::kQueryBias, "attn.q.bias", "attn.c_attn.bias"},
                                 {Part::kKey, "attn.k.weight", "attn.c_attn.weight"},
                                 {Part::kKeyBias, "attn.k.bias", "attn.c_attn.bias"},
                                 {Part::kValue, "attn.v.weight", "attn.c_attn.weight"},
                                 {Part::kValueBias, "attn.v.bias", "attn.c_attn.bias"},
                                 {Part::kOutput, "attn.c_proj.weight"},
                                 {Part::kOutputBias, "attn.c_proj.bias"},
                                 {Part::kMlpNorm, "ln_2.weight"},
                                 {Part::kMlpNormBias, "ln_2.bias"},
                                 {Part::kUp, "mlp.c_fc.weight"},
                                 {Part::kUpBias, "mlp.c_fc.bias"},
                                 {Part::kDown, "mlp.c_proj.weight"},
                                 {Part::kDownBias, "mlp.c_proj.bias"}},
                       .block_prefix = "transformer.h.{b}.",
                       .base_prefix = "transformer.",
                       .transposed = true},
      .gguf = gguf_table(gguf_fused_qkv()),
      .adjust = [](Config&, const nlohmann::json* hf) {
        if (hf == nullptr) return;
        for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
          if (hf->value(key, false))
            fail(ErrorKind::kUnsupported, "config.json: gpt2 with {} is not supported", key);
        }
      }};
  return architecture;
}

}  // namespace freelunch::model
