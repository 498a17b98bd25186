#include "model/part.h"

namespace freelunch::model {

std::string_view name(Half half) { return half == Half::kAttention ? "attention" : "mlp"; }

bool is_matrix(Part part) {
  switch (part.kind) {
    case Part::kQuery:
    case Part::kKey:
    case Part::kValue:
    case Part::kOutput:
    case Part::kGate:
    case Part::kUp:
    case Part::kDown:
      return true;
    default:
      return false;
  }
}

bool is_norm(Part part) {
  switch (part.kind) {
    case Part::kFinalNorm:
    case Part::kFinalNormBias:
    case Part::kAttentionNorm:
    case Part::kAttentionNormBias:
    case Part::kQueryNorm:
    case Part::kKeyNorm:
    case Part::kAttentionPostNorm:
    case Part::kMlpNorm:
    case Part::kMlpNormBias:
    case Part::kMlpPostNorm:
      return true;
    default:
      return false;
  }
}

bool is_in_block(Part part) { return part.kind >= Part::kAttentionNorm; }

Half half_of(Part part) { return part.kind < Part::kMlpNorm ? Half::kAttention : Half::kMlp; }

std::string short_name(Part matrix) {
  const auto kind = [&]() -> std::string {
    switch (matrix.kind) {
      case Part::kQuery:
        return "q";
      case Part::kKey:
        return "k";
      case Part::kValue:
        return "v";
      case Part::kOutput:
        return "o";
      case Part::kGate:
        return "gate";
      case Part::kUp:
        return "up";
      case Part::kDown:
        return "down";
      default:
        return "";
    }
  }();
  return matrix.expert < 0 ? kind : "experts." + std::to_string(matrix.expert) + "." + kind;
}

Part bias_of(Part weight) { return {static_cast<Part::Kind>(weight.kind + 1), weight.expert}; }

}  // namespace freelunch::model
