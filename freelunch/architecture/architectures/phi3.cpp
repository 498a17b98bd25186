#include <nlohmann/json.hpp>

#include "freelunch/architecture/architecture.h"

namespace freelunch::model {

/// Phi-3 and Phi-4: llama with one matrix for q, k and v, one for gate and up, and rotary positions on a
/// share of each head.
const Architecture& phi3() {
  static const Architecture architecture{
      .name = "phi3",
      .hugging_face_class = "Phi3ForCausalLM",
      .base = {.max_length = 4096},
      .keys = {.rotary_share = "partial_rotary_factor", .window = "sliding_window"},
      .longrope_only = true,
      .original_length = 4096,
      .hugging_face = {.roles =
                           with(llama_names(),
                                {{WeightRole::kQuery, "self_attn.q_proj.weight", "self_attn.qkv_proj.weight"},
                                 {WeightRole::kKey, "self_attn.k_proj.weight", "self_attn.qkv_proj.weight"},
                                 {WeightRole::kValue, "self_attn.v_proj.weight", "self_attn.qkv_proj.weight"},
                                 {WeightRole::kGate, "mlp.gate_proj.weight", "mlp.gate_up_proj.weight"},
                                 {WeightRole::kUp, "mlp.up_proj.weight", "mlp.gate_up_proj.weight"}}),
                       .base_prefix = "model."},
      .gguf = {.name = "phi3",
               .window_key = "attention.sliding_window",
               .factor_tensors = true,
               .names =
                   gguf_table(with(gguf_fused_qkv(), {{WeightRole::kGate, "ffn_gate.weight", "ffn_up.weight"},
                                                      {WeightRole::kUp, "ffn_up.weight", "ffn_up.weight"}}))},
      // the default in transformers is 32,000, which a smaller vocabulary does not have
      .write_json = [](const Config&, nlohmann::json& json) { json["pad_token_id"] = nullptr; }};
  return architecture;
}

}  // namespace freelunch::model
