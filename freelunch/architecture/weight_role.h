#pragma once
#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace freelunch::model {

/// The two sublayers of a block. Each maps the residual stream to the residual stream.
enum class Sublayer : uint8_t { kAttention, kMlp };
inline constexpr std::array<Sublayer, 2> kSublayers{Sublayer::kAttention, Sublayer::kMlp};

/// "attention" or "mlp", as in reports.
std::string_view name(Sublayer sublayer);

/// The role of a tensor in the model, independent of its name in a file. Matrices are (out, in), biases
/// (out), norms (width). Each architecture has some of these roles.
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
    kAttentionPostNorm,  ///< norm of the sublayer's output, before it is added to the stream
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
    kMlpPostNorm,  ///< as kAttentionPostNorm
  };
  Kind kind;
  int32_t expert = -1;  ///< index of the expert, for kGate, kUp, kDown of a mixture; -1: not an expert's

  // implicit: a kind alone is the role of a tensor that belongs to no expert
  constexpr WeightRole(Kind k, int32_t e = -1) : kind(k), expert(e) {}
  auto operator<=>(const WeightRole&) const = default;
};

/// Whether it is a linear map that is pruned: q, k, v, o, gate, up, down.
bool is_prunable(WeightRole role);
/// Whether it is the weight or the bias of a norm.
bool is_norm(WeightRole role);
/// Whether the tensor belongs to a block.
bool is_in_block(WeightRole role);
/// The sublayer of a tensor in a block. Throws InvalidArgument for tensors outside the blocks.
Sublayer sublayer_of(WeightRole role);
/// The role in reports: "q", "k", "v", "o", "gate", "up", "down"; "experts.3.up" for an expert's.
std::string short_name(WeightRole role);
/// The bias of a matrix or of a layer norm. Throws InvalidArgument for a role that never has one.
WeightRole bias_of(WeightRole weight);

}  // namespace freelunch::model
