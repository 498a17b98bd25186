#pragma once
#include <ATen/core/TensorBody.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace freelunch::model {

/// The tensors that a decoder block of llama's family may hold.
enum class Part : uint8_t {
  kAttentionNorm,
  kQuery,
  kQueryBias,
  kKey,
  kKeyBias,
  kValue,
  kValueBias,
  kOutput,
  kOutputBias,
  kMlpNorm,
  kGate,
  kGateBias,
  kUp,
  kUpBias,
  kDown,
  kDownBias,
};
inline constexpr size_t kPartCount = 16;

/// A block's two halves: each maps the residual stream to the residual stream.
enum class Half : uint8_t { kAttention, kMlp };
inline constexpr std::array<Half, 2> kHalves{Half::kAttention, Half::kMlp};

/// "attention" or "mlp", as reports name them.
std::string_view name(Half half);

/// A part's name inside a block, in each format.
struct PartNames {
  Part part;
  Half half;
  bool matrix;  ///< one of the linear maps that are pruned
  std::string_view hugging_face;
  std::string_view gguf;
};

/// Every part, in the order in which the forward pass meets them.
std::span<const PartNames> all_parts();
const PartNames& names(Part part);

/// The parts of a half, norm first; absent ones included.
std::vector<Part> parts_of(Half half);
/// The matrices of a half in the groups that share an input: {q, k, v}, {o} or {gate, up}, {down}.
std::vector<std::vector<Part>> matrix_groups(Half half);
/// The bias that belongs to a matrix.
Part bias_of(Part matrix);

/// One block's tensors; absent ones are undefined tensors.
/// Matrices are (out, in), norms and biases (width).
struct Block {
  std::array<at::Tensor, kPartCount> tensors;
  at::Tensor& operator[](Part part) { return tensors[static_cast<size_t>(part)]; }
  const at::Tensor& operator[](Part part) const { return tensors[static_cast<size_t>(part)]; }
};

}  // namespace freelunch::model
