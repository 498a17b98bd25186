#include "freelunch/architecture/weight_role.h"

namespace freelunch::model {

std::string_view name(Sublayer sublayer) { return sublayer == Sublayer::kAttention ? "attention" : "mlp"; }

bool is_prunable(WeightRole role) {
  switch (role.kind) {
    case WeightRole::kQuery:
    case WeightRole::kKey:
    case WeightRole::kValue:
    case WeightRole::kOutput:
    case WeightRole::kGate:
    case WeightRole::kUp:
    case WeightRole::kDown:
      return true;
    default:
      return false;
  }
}

bool is_norm(WeightRole role) {
  switch (role.kind) {
    case WeightRole::kFinalNorm:
    case WeightRole::kFinalNormBias:
    case WeightRole::kAttentionNorm:
    case WeightRole::kAttentionNormBias:
    case WeightRole::kQueryNorm:
    case WeightRole::kKeyNorm:
    case WeightRole::kAttentionPostNorm:
    case WeightRole::kMlpNorm:
    case WeightRole::kMlpNormBias:
    case WeightRole::kMlpPostNorm:
      return true;
    default:
      return false;
  }
}

bool is_in_block(WeightRole role) { return role.kind >= WeightRole::kAttentionNorm; }

Sublayer sublayer_of(WeightRole role) {
  return role.kind < WeightRole::kMlpNorm ? Sublayer::kAttention : Sublayer::kMlp;
}

std::string short_name(WeightRole matrix) {
  const auto kind = [&]() -> std::string {
    switch (matrix.kind) {
      case WeightRole::kQuery:
        return "q";
      case WeightRole::kKey:
        return "k";
      case WeightRole::kValue:
        return "v";
      case WeightRole::kOutput:
        return "o";
      case WeightRole::kGate:
        return "gate";
      case WeightRole::kUp:
        return "up";
      case WeightRole::kDown:
        return "down";
      default:
        return "";
    }
  }();
  return matrix.expert < 0 ? kind : "experts." + std::to_string(matrix.expert) + "." + kind;
}

WeightRole bias_of(WeightRole weight) {
  return {static_cast<WeightRole::Kind>(weight.kind + 1), weight.expert};
}

}  // namespace freelunch::model
