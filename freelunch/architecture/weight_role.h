#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace freelunch::model {

/// A block's two sublayers: each maps the residual stream to the residual stream.
enum class Sublayer : uint8_t { kAttention, kMlp };
inline constexpr std::array<Sublayer, 2> kSublayers{Sublayer::kAttention, Sublayer::kMlp};

/// "attention" or "mlp", as reports name them.
std::string_view name(Sublayer sublayer);

/// What a tensor is to the model, whatever a file calls it. A matrix is (out, in); its bias, and that of a
/// layer norm, follows it in the list. Every architecture has some of these.
struct WeightRole {
  enum Kind : uint8_t {
    // outside the blocks
    kEmbedding,
    kPositions,  ///< learned positions, (positions, width)
    kProjectIn,  ///< from the embedding's width to the stream's
    kFinalNorm,
    kFinalNormBias,
    kProjectOut,  ///< from the stream's width to the head's
    kHead,
    // attention sublayer
    kAttentionNorm,
    kAttentionNormBias,
    kQuery,
    kQueryBias,
    kKey,
    kKeyBias,
    kValue,
    kValueBias,
    kQueryNorm,
    kKeyNorm,
    kOutput,
    kOutputBias,
    kAttentionPostNorm,  ///< of what the sublayer adds
    // MLP sublayer
    kMlpNorm,
    kMlpNormBias,
    kRouter,  ///< (experts, width)
    kGate,
    kGateBias,
    kUp,
    kUpBias,
    kDown,
    kDownBias,
    kMlpPostNorm,
  };
  Kind kind;
  int32_t expert = -1;  ///< of kGate, kUp, kDown in a mixture of experts

  // a kind alone is the part of a dense block
  constexpr WeightRole(Kind k, int32_t e = -1) : kind(k), expert(e) {}
  auto operator<=>(const WeightRole&) const = default;
};

/// One of the linear maps that are pruned.
bool is_prunable(WeightRole role);
/// A norm's weight or bias.
bool is_norm(WeightRole role);
/// Whether it lies in a block.
bool is_in_block(WeightRole role);
/// Of a part that lies in a block.
Sublayer sublayer_of(WeightRole role);
/// "q", "k", "v", "o", "gate", "up", "down"; "experts.3.up" of an expert: a matrix as reports name it.
std::string short_name(WeightRole matrix);
/// The bias that belongs to a matrix or to the weight of a layer norm.
WeightRole bias_of(WeightRole weight);

}  // namespace freelunch::model
