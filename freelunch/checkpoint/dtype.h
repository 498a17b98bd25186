#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace freelunch::checkpoint {

/// The encoding of a stored tensor's elements: the types of safetensors, then the block formats of ggml,
/// which are the quantised ones.
enum class DType {
  kF64,
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
  kC64,
  kF8_E5M2,
  kF8_E4M3,
  kF8_E8M0,
  kF8_E5M2FNUZ,
  kF8_E4M3FNUZ,
  kF6_E2M3,
  kF6_E3M2,
  kF4,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ4_NL
};

/// The name in safetensors headers ("BF16", "I64", "BOOL") or in ggml ("Q4_1", "Q6_K", "IQ4_NL").
std::string_view name(DType dtype);

/// Elements in the smallest whole number of bytes: 1 for most plain types, 2 or 4 for those of 4 and 6 bits;
/// in one block, 32 or 256, for quantised ones.
int64_t block_elements(DType dtype);

/// Bytes of one block; the size of an element for plain types.
int64_t block_bytes(DType dtype);

bool is_quantised(DType dtype);

/// True for the types that Checkpoint::read_f32 converts: F64, F32, F16, BF16 and every quantised type.
bool converts_to_f32(DType dtype);

/// Bytes of `elements` >= 0 elements. Empty if they are not whole blocks or if the product overflows.
std::optional<uint64_t> bytes_for(DType dtype, int64_t elements);

}  // namespace freelunch::checkpoint
