#include "freelunch/architecture/name_table.h"

#include <algorithm>
#include <array>

namespace freelunch::model {

const RoleName* NameTable::find(WeightRole role) const {
  const std::vector<RoleName>& names = role.expert < 0 ? roles : experts;
  const auto it =
      std::find_if(names.begin(), names.end(), [&](const RoleName& n) { return n.role == role.kind; });
  return it == names.end() ? nullptr : &*it;
}

bool is_derived_buffer(std::string_view name) {
  constexpr std::array<std::string_view, 5> kEnds{".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias",
                                                  ".attention.bias", ".attention.masked_bias"};
  return std::any_of(kEnds.begin(), kEnds.end(), [&](std::string_view end) { return name.ends_with(end); });
}

std::vector<RoleName> with(std::vector<RoleName> names, const std::vector<RoleName>& changes) {
  for (const RoleName& change : changes) {
    const auto it =
        std::find_if(names.begin(), names.end(), [&](const RoleName& n) { return n.role == change.role; });
    if (it == names.end())
      names.push_back(change);
    else
      *it = change;
  }
  return names;
}

const std::vector<RoleName>& llama_names() {
  static const std::vector<RoleName> names{
      {WeightRole::kEmbedding, "model.embed_tokens.weight"},
      {WeightRole::kFinalNorm, "model.norm.weight"},
      {WeightRole::kHead, "lm_head.weight"},
      {WeightRole::kAttentionNorm, "input_layernorm.weight"},
      {WeightRole::kQuery, "self_attn.q_proj.weight"},
      {WeightRole::kQueryBias, "self_attn.q_proj.bias"},
      {WeightRole::kKey, "self_attn.k_proj.weight"},
      {WeightRole::kKeyBias, "self_attn.k_proj.bias"},
      {WeightRole::kValue, "self_attn.v_proj.weight"},
      {WeightRole::kValueBias, "self_attn.v_proj.bias"},
      {WeightRole::kQueryNorm, "self_attn.q_norm.weight"},
      {WeightRole::kKeyNorm, "self_attn.k_norm.weight"},
      {WeightRole::kOutput, "self_attn.o_proj.weight"},
      {WeightRole::kOutputBias, "self_attn.o_proj.bias"},
      {WeightRole::kMlpNorm, "post_attention_layernorm.weight"},
      {WeightRole::kGate, "mlp.gate_proj.weight"},
      {WeightRole::kGateBias, "mlp.gate_proj.bias"},
      {WeightRole::kUp, "mlp.up_proj.weight"},
      {WeightRole::kUpBias, "mlp.up_proj.bias"},
      {WeightRole::kDown, "mlp.down_proj.weight"},
      {WeightRole::kDownBias, "mlp.down_proj.bias"},
  };
  return names;
}

const std::vector<RoleName>& gguf_names() {
  static const std::vector<RoleName> names{
      {WeightRole::kEmbedding, "token_embd.weight"},
      {WeightRole::kPositions, "position_embd.weight"},
      {WeightRole::kFinalNorm, "output_norm.weight"},
      {WeightRole::kFinalNormBias, "output_norm.bias"},
      {WeightRole::kHead, "output.weight"},
      {WeightRole::kAttentionNorm, "attn_norm.weight"},
      {WeightRole::kAttentionNormBias, "attn_norm.bias"},
      {WeightRole::kQuery, "attn_q.weight"},
      {WeightRole::kQueryBias, "attn_q.bias"},
      {WeightRole::kKey, "attn_k.weight"},
      {WeightRole::kKeyBias, "attn_k.bias"},
      {WeightRole::kValue, "attn_v.weight"},
      {WeightRole::kValueBias, "attn_v.bias"},
      {WeightRole::kQueryNorm, "attn_q_norm.weight"},
      {WeightRole::kKeyNorm, "attn_k_norm.weight"},
      {WeightRole::kOutput, "attn_output.weight"},
      {WeightRole::kOutputBias, "attn_output.bias"},
      {WeightRole::kAttentionPostNorm, "post_attention_norm.weight"},
      {WeightRole::kMlpNorm, "ffn_norm.weight"},
      {WeightRole::kMlpNormBias, "ffn_norm.bias"},
      {WeightRole::kRouter, "ffn_gate_inp.weight"},
      {WeightRole::kGate, "ffn_gate.weight"},
      {WeightRole::kGateBias, "ffn_gate.bias"},
      {WeightRole::kUp, "ffn_up.weight"},
      {WeightRole::kUpBias, "ffn_up.bias"},
      {WeightRole::kDown, "ffn_down.weight"},
      {WeightRole::kDownBias, "ffn_down.bias"},
      {WeightRole::kMlpPostNorm, "post_ffw_norm.weight"},
  };
  return names;
}

NameTable gguf_table(const std::vector<RoleName>& changes) {
  return {.roles = with(gguf_names(), changes),
          .experts = {{WeightRole::kGate, "ffn_gate.{e}.weight", "ffn_gate_exps.weight"},
                      {WeightRole::kUp, "ffn_up.{e}.weight", "ffn_up_exps.weight"},
                      {WeightRole::kDown, "ffn_down.{e}.weight", "ffn_down_exps.weight"}},
          .block_prefix = "blk.{b}."};
}

NameTable rotary_pairs(NameTable names) {
  names.rotary_pairs = true;
  return names;
}

NameTable norms_plus_one(NameTable names) {
  names.norms_plus_one = true;
  return names;
}

std::vector<RoleName> gguf_fused_qkv() {
  return {{WeightRole::kQuery, "attn_q.weight", "attn_qkv.weight"},
          {WeightRole::kQueryBias, "attn_q.bias", "attn_qkv.bias"},
          {WeightRole::kKey, "attn_k.weight", "attn_qkv.weight"},
          {WeightRole::kKeyBias, "attn_k.bias", "attn_qkv.bias"},
          {WeightRole::kValue, "attn_v.weight", "attn_qkv.weight"},
          {WeightRole::kValueBias, "attn_v.bias", "attn_qkv.bias"}};
}

}  // namespace freelunch::model
