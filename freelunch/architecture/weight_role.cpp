#include "freelunch/architecture/weight_role.h"

#include <optional>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

enum class Place : uint8_t { kOutside, kAttention, kMlp };
enum class Use : uint8_t { kOther, kPruned, kNorm };

struct RoleFacts {
  WeightRole::Kind kind;
  std::string_view name;
  Place place;
  Use use = Use::kOther;
  std::optional<WeightRole::Kind> bias = std::nullopt;
};

constexpr std::array<RoleFacts, 30> kFacts{{
    {WeightRole::kEmbedding, "embedding", Place::kOutside},
    {WeightRole::kPositions, "positions", Place::kOutside},
    {WeightRole::kProjectIn, "project_in", Place::kOutside},
    {WeightRole::kFinalNorm, "final_norm", Place::kOutside, Use::kNorm, WeightRole::kFinalNormBias},
    {WeightRole::kFinalNormBias, "final_norm_bias", Place::kOutside, Use::kNorm},
    {WeightRole::kProjectOut, "project_out", Place::kOutside},
    {WeightRole::kHead, "head", Place::kOutside},
    {WeightRole::kAttentionNorm, "attention_norm", Place::kAttention, Use::kNorm,
     WeightRole::kAttentionNormBias},
    {WeightRole::kAttentionNormBias, "attention_norm_bias", Place::kAttention, Use::kNorm},
    {WeightRole::kQuery, "q", Place::kAttention, Use::kPruned, WeightRole::kQueryBias},
    {WeightRole::kQueryBias, "q_bias", Place::kAttention},
    {WeightRole::kKey, "k", Place::kAttention, Use::kPruned, WeightRole::kKeyBias},
    {WeightRole::kKeyBias, "k_bias", Place::kAttention},
    {WeightRole::kValue, "v", Place::kAttention, Use::kPruned, WeightRole::kValueBias},
    {WeightRole::kValueBias, "v_bias", Place::kAttention},
    {WeightRole::kQueryNorm, "q_norm", Place::kAttention, Use::kNorm},
    {WeightRole::kKeyNorm, "k_norm", Place::kAttention, Use::kNorm},
    {WeightRole::kOutput, "o", Place::kAttention, Use::kPruned, WeightRole::kOutputBias},
    {WeightRole::kOutputBias, "o_bias", Place::kAttention},
    {WeightRole::kAttentionPostNorm, "attention_post_norm", Place::kAttention, Use::kNorm},
    {WeightRole::kMlpNorm, "mlp_norm", Place::kMlp, Use::kNorm, WeightRole::kMlpNormBias},
    {WeightRole::kMlpNormBias, "mlp_norm_bias", Place::kMlp, Use::kNorm},
    {WeightRole::kRouter, "router", Place::kMlp},
    {WeightRole::kGate, "gate", Place::kMlp, Use::kPruned, WeightRole::kGateBias},
    {WeightRole::kGateBias, "gate_bias", Place::kMlp},
    {WeightRole::kUp, "up", Place::kMlp, Use::kPruned, WeightRole::kUpBias},
    {WeightRole::kUpBias, "up_bias", Place::kMlp},
    {WeightRole::kDown, "down", Place::kMlp, Use::kPruned, WeightRole::kDownBias},
    {WeightRole::kDownBias, "down_bias", Place::kMlp},
    {WeightRole::kMlpPostNorm, "mlp_post_norm", Place::kMlp, Use::kNorm},
}};

constexpr bool one_row_for_each_kind() {
  for (size_t i = 0; i < kFacts.size(); ++i) {
    if (kFacts.at(i).kind != i) return false;
  }
  return kFacts.size() == WeightRole::kMlpPostNorm + 1;
}
static_assert(one_row_for_each_kind(), "kFacts is indexed by WeightRole::Kind");

const RoleFacts& facts(WeightRole role) { return kFacts.at(role.kind); }

}  // namespace

std::string_view name(Sublayer sublayer) { return sublayer == Sublayer::kAttention ? "attention" : "mlp"; }

bool is_prunable(WeightRole role) { return facts(role).use == Use::kPruned; }

bool is_norm(WeightRole role) { return facts(role).use == Use::kNorm; }

bool is_in_block(WeightRole role) { return facts(role).place != Place::kOutside; }

Sublayer sublayer_of(WeightRole role) {
  if (!is_in_block(role)) fail(ErrorKind::kInvalidArgument, "'{}' is not part of a block", facts(role).name);
  return facts(role).place == Place::kAttention ? Sublayer::kAttention : Sublayer::kMlp;
}

std::string short_name(WeightRole role) {
  const std::string name(facts(role).name);
  return role.expert < 0 ? name : "experts." + std::to_string(role.expert) + "." + name;
}

WeightRole bias_of(WeightRole weight) {
  const auto& bias = facts(weight).bias;
  if (!bias) fail(ErrorKind::kInvalidArgument, "'{}' has no bias", facts(weight).name);
  return {*bias, weight.expert};
}

}  // namespace freelunch::model
