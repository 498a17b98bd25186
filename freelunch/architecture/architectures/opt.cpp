#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {

/// OPT: learned positions from row 2 on, layer norms, ReLU, biases everywhere. Only the 350M model has its
/// norms after the sum and an embedding narrower than the stream. GGUF has no form of OPT.
const Architecture& opt() {
  static const Architecture architecture{
      .name = "opt",
      .hugging_face_class = "OPTForCausalLM",
      .base = {.norm = NormKind::kLayer,
               .gated = false,
               .activation = Activation::kRelu,
               .positions = PositionKind::kLearned,
               .position_offset = 2,
               .tied_embeddings = true,
               .qkv_bias = true,
               .output_bias = true,
               .mlp_bias = true},
      .keys = {.intermediate = "ffn_dim",
               .kv_heads = "",
               .head_dim = "",
               .norm_epsilon = "",
               .activation = "activation_function"},
      .hugging_face = {.roles = with(llama_names(),
                                     {{WeightRole::kEmbedding, "model.decoder.embed_tokens.weight"},
                                      {WeightRole::kPositions, "model.decoder.embed_positions.weight"},
                                      {WeightRole::kProjectIn, "model.decoder.project_in.weight"},
                                      {WeightRole::kProjectOut, "model.decoder.project_out.weight"},
                                      {WeightRole::kFinalNorm, "model.decoder.final_layer_norm.weight"},
                                      {WeightRole::kFinalNormBias, "model.decoder.final_layer_norm.bias"},
                                      {WeightRole::kAttentionNorm, "self_attn_layer_norm.weight"},
                                      {WeightRole::kAttentionNormBias, "self_attn_layer_norm.bias"},
                                      {WeightRole::kOutput, "self_attn.out_proj.weight"},
                                      {WeightRole::kOutputBias, "self_attn.out_proj.bias"},
                                      {WeightRole::kMlpNorm, "final_layer_norm.weight"},
                                      {WeightRole::kMlpNormBias, "final_layer_norm.bias"},
                                      {WeightRole::kUp, "fc1.weight"},
                                      {WeightRole::kUpBias, "fc1.bias"},
                                      {WeightRole::kDown, "fc2.weight"},
                                      {WeightRole::kDownBias, "fc2.bias"}}),
                       .block_prefix = "model.decoder.layers.{b}.",
                       .base_prefix = "model."},
      .read_json = [](Config& config, const nlohmann::json& json) {
        const auto it = json.find("word_embed_proj_dim");
        if (it != json.end() && !it->is_null()) config.embedding_width = it->get<int64_t>();
        const bool before = json.value("do_layer_norm_before", true);
        if (!before) config.norm_place = NormPlace::kAfterSum;
        config.final_norm = before && !json.value("_remove_final_layer_norm", false);
        config.qkv_bias = config.output_bias = config.mlp_bias = json.value("enable_bias", true);
        if (!json.value("layer_norm_elementwise_affine", true))
          fail(ErrorKind::kUnsupported,
               "config.json: opt without weights in its layer norms is not supported");
      }};
  return architecture;
}

}  // namespace freelunch::model
