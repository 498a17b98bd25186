#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace freelunch::model {

/// How rotary frequencies are stretched beyond the length a model was trained on.
enum class RopeScalingKind { kNone, kLinear, kLlama3 };

struct RopeScaling {
  RopeScalingKind kind = RopeScalingKind::kNone;
  double factor = 1.0;
  double low_frequency_factor = 1.0;   ///< llama3 only
  double high_frequency_factor = 4.0;  ///< llama3 only
  double original_length = 8192;       ///< llama3 only, tokens
};

/// What the forward pass of a decoder of llama's family needs to know. Filled by an architecture from a
/// config.json or from GGUF metadata.
struct Config {
  std::string architecture;  ///< name in all_architectures(): "llama", "mistral", "qwen2"
  int64_t vocabulary = 0;
  int64_t width = 0;         ///< of the residual stream
  int64_t intermediate = 0;  ///< of the MLP
  int64_t blocks = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_length = 2048;  ///< positions the model was trained for, tokens
  double norm_epsilon = 1e-5;
  double rope_theta = 10000.0;
  RopeScaling rope_scaling;
  std::optional<int64_t> sliding_window;  ///< tokens each position sees, itself included
  bool tied_embeddings = false;
  bool qkv_bias = false;
  bool output_bias = false;
  bool mlp_bias = false;
  std::optional<int64_t> bos, eos;
};

/// Refuses sizes that no forward pass can use (zero, negative, heads that do not divide). `where` names the
/// file. Throws BadFile.
void validate(const Config& config, const std::string& where);

/// What each rotary frequency is divided by under llama3 scaling: head_dim / 2 values.
/// Source: the formula of Llama 3.1's release ("smooth" interpolation between wavelengths).
std::vector<double> llama3_divisors(const Config& config);

}  // namespace freelunch::model
