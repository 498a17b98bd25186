#include "model/block.h"

namespace freelunch::model {
namespace {

constexpr std::array<PartNames, kPartCount> kParts{{
    {Part::kAttentionNorm, Half::kAttention, false, "input_layernorm.weight", "attn_norm.weight"},
    {Part::kQuery, Half::kAttention, true, "self_attn.q_proj.weight", "attn_q.weight"},
    {Part::kQueryBias, Half::kAttention, false, "self_attn.q_proj.bias", "attn_q.bias"},
    {Part::kKey, Half::kAttention, true, "self_attn.k_proj.weight", "attn_k.weight"},
    {Part::kKeyBias, Half::kAttention, false, "self_attn.k_proj.bias", "attn_k.bias"},
    {Part::kValue, Half::kAttention, true, "self_attn.v_proj.weight", "attn_v.weight"},
    {Part::kValueBias, Half::kAttention, false, "self_attn.v_proj.bias", "attn_v.bias"},
    {Part::kOutput, Half::kAttention, true, "self_attn.o_proj.weight", "attn_output.weight"},
    {Part::kOutputBias, Half::kAttention, false, "self_attn.o_proj.bias", "attn_output.bias"},
    {Part::kMlpNorm, Half::kMlp, false, "post_attention_layernorm.weight", "ffn_norm.weight"},
    {Part::kGate, Half::kMlp, true, "mlp.gate_proj.weight", "ffn_gate.weight"},
    {Part::kGateBias, Half::kMlp, false, "mlp.gate_proj.bias", "ffn_gate.bias"},
    {Part::kUp, Half::kMlp, true, "mlp.up_proj.weight", "ffn_up.weight"},
    {Part::kUpBias, Half::kMlp, false, "mlp.up_proj.bias", "ffn_up.bias"},
    {Part::kDown, Half::kMlp, true, "mlp.down_proj.weight", "ffn_down.weight"},
    {Part::kDownBias, Half::kMlp, false, "mlp.down_proj.bias", "ffn_down.bias"},
}};

}  // namespace

std::string_view name(Half half) { return half == Half::kAttention ? "attention" : "mlp"; }

std::span<const PartNames> all_parts() { return kParts; }

const PartNames& names(Part part) { return kParts[static_cast<size_t>(part)]; }

std::vector<Part> parts_of(Half half) {
  std::vector<Part> parts;
  for (const PartNames& entry : kParts) {
    if (entry.half == half) parts.push_back(entry.part);
  }
  return parts;
}

std::vector<std::vector<Part>> matrix_groups(Half half) {
  if (half == Half::kAttention) return {{Part::kQuery, Part::kKey, Part::kValue}, {Part::kOutput}};
  return {{Part::kGate, Part::kUp}, {Part::kDown}};
}

Part bias_of(Part matrix) { return static_cast<Part>(static_cast<uint8_t>(matrix) + 1); }

}  // namespace freelunch::model
