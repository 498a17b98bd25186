#pragma once
#include <cstdint>
#include <vector>

namespace freelunch::model {

/// How rotary frequencies are scaled for texts longer than those the model was trained on. The names and
/// formulas are those of transformers (modeling_rope_utils.py).
enum class RopeScalingKind {
  kNone,
  kLinear,    ///< all frequencies are divided by the factor
  kDynamic,   ///< the base grows with the length of the sequence, from max_length on (NTK)
  kYarn,      ///< low frequencies are divided by the factor, high ones are kept (Peng et al. 2023, arXiv
              ///< 2309.00071)
  kLongRope,  ///< each frequency has a divisor, one for short and one for long sequences (Phi-3)
  kLlama3     ///< like yarn, with other bounds (Llama 3.1)
};

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1.0;                 ///< not longrope
  double low_frequency_factor = 1.0;   ///< llama3 only
  double high_frequency_factor = 4.0;  ///< llama3 only
  double original_length = 8192;       ///< llama3, yarn and longrope: length of the texts in training, tokens
  double attention_factor = 1.0;       ///< yarn and longrope: factor of cos and sin
  double beta_fast = 32;               ///< yarn only: more turns than that within original_length are kept
  double beta_slow = 1;                ///< yarn only: fewer turns than that are divided
  bool truncate = true;                ///< yarn only: the bounds are whole indices of frequencies
  std::vector<double> short_factors = {},
                      long_factors = {};  ///< longrope only: divisors, one for each frequency

  bool operator==(const RopeScaling&) const = default;
  /// Whether the frequencies depend on the length of the sequence.
  bool depends_on_length() const {
    return kind == RopeScalingKind::kDynamic || kind == RopeScalingKind::kLongRope;
  }
};

/// The rotary frequencies, radians per token: rotary_dim / 2 values. `length` is that of the sequence,
/// `max_length` that of the configuration, in tokens.
std::vector<double> rotary_frequencies(double theta, const RopeScaling& scaling, int64_t rotary_dim,
                                       int64_t max_length, int64_t length);

/// The divisor of each rotary frequency under llama3 scaling: rotary_dim / 2 values.
/// Source: the formula of Llama 3.1's release ("smooth" interpolation between wavelengths).
std::vector<double> llama3_divisors(double theta, const RopeScaling& scaling, int64_t rotary_dim);

/// The attention factor of a yarn or longrope model whose configuration gives none. `factor` is that of the
/// length.
double default_attention_factor(RopeScalingKind kind, double factor, double original_length);

}  // namespace freelunch::model
