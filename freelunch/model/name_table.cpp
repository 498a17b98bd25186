#include "model/name_table.h"

#include <algorithm>

namespace freelunch::model {

const PartName* NameTable::find(Part part) const {
  const std::vector<PartName>& names = part.expert < 0 ? parts : experts;
  const auto it =
      std::find_if(names.begin(), names.end(), [&](const PartName& n) { return n.part == part.kind; });
  return it == names.end() ? nullptr : &*it;
}

std::vector<PartName> with(std::vector<PartName> names, const std::vector<PartName>& changes) {
  for (const PartName& change : changes) {
    const auto it =
        std::find_if(names.begin(), names.end(), [&](const PartName& n) { return n.part == change.part; });
    if (it == names.end())
      names.push_back(change);
    else
      *it = change;
  }
  return names;
}

const std::vector<PartName>& llama_names() {
  static const std::vector<PartName> names{
      {Part::kEmbedding, "model.embed_tokens.weight"},
      {Part::kFinalNorm, "model.norm.weight"},
      {Part::kHead, "lm_head.weight"},
      {Part::kAttentionNorm, "input_layernorm.weight"},
      {Part::kQuery, "self_attn.q_proj.weight"},
      {Part::kQueryBias, "self_attn.q_proj.bias"},
      {Part::kKey, "self_attn.k_proj.weight"},
      {Part::kKeyBias, "self_attn.k_proj.bias"},
      {Part::kValue, "self_attn.v_proj.weight"},
      {Part::kValueBias, "self_attn.v_proj.bias"},
      {Part::kQueryNorm, "self_attn.q_norm.weight"},
      {Part::kKeyNorm, "self_attn.k_norm.weight"},
      {Part::kOutput, "self_attn.o_proj.weight"},
      {Part::kOutputBias, "self_attn.o_proj.bias"},
      {Part::kMlpNorm, "post_attention_layernorm.weight"},
      {Part::kGate, "mlp.gate_proj.weight"},
      {Part::kGateBias, "mlp.gate_proj.bias"},
      {Part::kUp, "mlp.up_proj.weight"},
      {Part::kUpBias, "mlp.up_proj.bias"},
      {Part::kDown, "mlp.down_proj.weight"},
      {Part::kDownBias, "mlp.down_proj.bias"},
  };
  return names;
}

const std::vector<PartName>& gguf_names() {
  static const std::vector<PartName> names{
      {Part::kEmbedding, "token_embd.weight"},
      {Part::kPositions, "position_embd.weight"},
      {Part::kFinalNorm, "output_norm.weight"},
      {Part::kFinalNormBias, "output_norm.bias"},
      {Part::kHead, "output.weight"},
      {Part::kAttentionNorm, "attn_norm.weight"},
      {Part::kAttentionNormBias, "attn_norm.bias"},
      {Part::kQuery, "attn_q.weight"},
      {Part::kQueryBias, "attn_q.bias"},
      {Part::kKey, "attn_k.weight"},
      {Part::kKeyBias, "attn_k.bias"},
      {Part::kValue, "attn_v.weight"},
      {Part::kValueBias, "attn_v.bias"},
      {Part::kQueryNorm, "attn_q_norm.weight"},
      {Part::kKeyNorm, "attn_k_norm.weight"},
      {Part::kOutput, "attn_output.weight"},
      {Part::kOutputBias, "attn_output.bias"},
      {Part::kAttentionPostNorm, "post_attention_norm.weight"},
      {Part::kMlpNorm, "ffn_norm.weight"},
      {Part::kMlpNormBias, "ffn_norm.bias"},
      {Part::kRouter, "ffn_gate_inp.weight"},
      {Part::kGate, "ffn_gate.weight"},
      {Part::kGateBias, "ffn_gate.bias"},
      {Part::kUp, "ffn_up.weight"},
      {Part::kUpBias, "ffn_up.bias"},
      {Part::kDown, "ffn_down.weight"},
      {Part::kDownBias, "ffn_down.bias"},
      {Part::kMlpPostNorm, "post_ffw_norm.weight"},
  };
  return names;
}

NameTable gguf_table(const std::vector<PartName>& changes) {
  return {.parts = with(gguf_names(), changes),
          .experts = {{Part::kGate, "ffn_gate.{e}.weight", "ffn_gate_exps.weight"},
                      {Part::kUp, "ffn_up.{e}.weight", "ffn_up_exps.weight"},
                      {Part::kDown, "ffn_down.{e}.weight", "ffn_down_exps.weight"}},
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

std::vector<PartName> gguf_fused_qkv() {
  return {
      {Part::kQuery, "attn_q.weight", "attn_qkv.weight"}, {Part::kQueryBias, "attn_q.bias", "attn_qkv.bias"},
      {Part::kKey, "attn_k.weight", "attn_qkv.weight"},   {Part::kKeyBias, "attn_k.bias", "attn_qkv.bias"},
      {Part::kValue, "attn_v.weight", "attn_qkv.weight"}, {Part::kValueBias, "attn_v.bias", "attn_qkv.bias"}};
}

}  // namespace freelunch::model
