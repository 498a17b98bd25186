#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/architecture/rope.h"

namespace freelunch::model {

enum class NormKind {
  kNone,        ///< the identity
  kRms,         ///< x / rms(x) * w
  kRmsPlusOne,  ///< x / rms(x) * (1 + w)
  kLayer        ///< (x - mean(x)) / deviation(x) * w + b
};

/// Where the norms of a sublayer f are.
enum class NormPlace {
  kBefore,          ///< x + f(norm(x))
  kBeforeAndAfter,  ///< x + post(f(norm(x)))
  kAfter,           ///< x + post(f(x))
  kAfterSum         ///< norm(x + f(x))
};

enum class Activation { kSilu, kGelu, kGeluTanh, kRelu };

/// Norms of queries and keys: none, over each head, or over all heads together.
enum class HeadNorm { kNone, kEach, kAll };

enum class PositionKind { kRotary, kLearned };

/// What differs between alternating blocks: the attention window, and the rotary frequencies that go with it.
struct LayerType {
  double rope_theta = 10000.0;
  RopeScaling rope_scaling = {};
  std::optional<int64_t> window = {};  ///< tokens a position attends to, itself included; none: all up to it

  bool operator==(const LayerType&) const = default;
};

/// A mixture of experts in place of the MLP.
struct Experts {
  int64_t count = 0;                ///< experts of a block; 0: the model has none
  int64_t chosen = 0;               ///< experts that each token is routed to
  int64_t intermediate = 0;         ///< intermediate size of one expert
  bool weights_sum_to_one = true;   ///< scales the weights of a token's experts to sum to one
  std::vector<bool> of_block = {};  ///< for each block, whether it has experts; empty: all have

  bool operator==(const Experts&) const = default;
};

/// The configuration of a decoder: sizes and switches that select the forward pass. An architecture sets what
/// all its models share, a config.json or GGUF metadata sets the rest.
struct Config {
  std::string architecture = {};  ///< Architecture::name: "llama", "gemma2", ...
  int64_t vocabulary = 0;
  int64_t width = 0;            ///< of the residual stream (hidden size)
  int64_t embedding_width = 0;  ///< of embedding and head; if not `width`, projections lie between
  int64_t intermediate = 0;     ///< of the MLP
  int64_t blocks = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_length = 2048;  ///< tokens; learned positions end here

  NormKind norm = NormKind::kRms;
  NormPlace norm_place = NormPlace::kBefore;
  double norm_epsilon = 1e-5;
  bool final_norm = true;
  bool parallel = false;  ///< both sublayers read the block's input, their outputs are added

  bool gated = true;  ///< activation(gate) * up, or activation(up)
  Activation activation = Activation::kSilu;
  Experts experts = {};

  PositionKind positions = PositionKind::kRotary;
  int64_t position_offset = 0;  ///< rows of the position table before position 0
  double rotary_share = 1.0;    ///< share of a head's dimensions that rotate, from the first on
  std::vector<LayerType> layer_types = {LayerType{}};
  std::vector<int64_t> layer_type_of_block = {};  ///< index into `layer_types`; empty: 0 for all blocks
  HeadNorm head_norm = HeadNorm::kNone;
  std::optional<double> attention_scale = {};  ///< factor of the scores q k; none: head_dim^-0.5
  double attention_soft_cap = 0;               ///< c: scores become c tanh(score / c); 0: no cap
  double logit_soft_cap = 0;                   ///< the same for logits
  double embedding_scale = 1.0;

  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;
  bool mlp_bias = false;
  std::optional<int64_t> bos = {}, eos = {};

  bool operator==(const Config&) const = default;

  /// Index into `layer_types`.
  size_t layer_type(int64_t block) const {
    return layer_type_of_block.empty() ? 0
                                       : static_cast<size_t>(layer_type_of_block[static_cast<size_t>(block)]);
  }
  /// Whether a sublayer reads the stream through a norm.
  bool norms_input() const {
    return norm_place == NormPlace::kBefore || norm_place == NormPlace::kBeforeAndAfter;
  }
  /// Whether the norms are RMS norms.
  bool rms_norms() const { return norm == NormKind::kRms || norm == NormKind::kRmsPlusOne; }
  bool has_experts(int64_t block) const {
    return experts.count > 0 && (experts.of_block.empty() || experts.of_block[static_cast<size_t>(block)]);
  }
  /// Dimensions of a head that rotate with the position. validate() refuses an odd number.
  int64_t rotary_dim() const;
  /// Sets rotary_share so that rotary_dim() is `dim`.
  void set_rotary_dim(int64_t dim);
};

/// More blocks than any decoder has. A file that announces more is refused before anything of that size is
/// allocated.
inline constexpr int64_t kMostBlocks = 65536;

/// Throws BadFile for sizes that no forward pass can use: zero, negative, heads that do not divide. Throws
/// Unsupported for an odd number of rotary dimensions. `where` names the file.
void validate(const Config& config, const std::string& where);

}  // namespace freelunch::model
