#pragma once
#include <bit>
#include <cstdint>

// Conversions between fp32 and the 16-bit formats. Narrowing rounds to nearest, ties to even. Values that are
// too large become infinity; NaN becomes a quiet NaN; infinities and signed zeros are preserved. F16C is not
// needed: compilers turn the branches into selections and vectorise them.
namespace freelunch::checkpoint {

inline float bf16_to_f32(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// The method of the FP16 library (github.com/Maratyszcza/FP16): a multiplication corrects the exponent bias
/// of normal numbers, a subtraction normalises subnormal ones.
inline float f16_to_f32(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  const uint32_t sign = word & 0x80000000u;
  const uint32_t magnitude = word + word;
  const float normal = std::bit_cast<float>((magnitude >> 4) + (0xE0u << 23)) * 0x1.0p-112f;
  const float subnormal = std::bit_cast<float>((magnitude >> 17) | (126u << 23)) - 0.5f;
  const uint32_t value = std::bit_cast<uint32_t>(magnitude < (1u << 27) ? subnormal : normal);
  return std::bit_cast<float>(sign | value);
}

inline uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

inline uint16_t f32_to_f16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  uint32_t half;
  if (magnitude > 0x7F800000u) {
    half = 0x7E00u | ((magnitude >> 13) & 0x3FFu);
  } else if (magnitude >= 0x477FF000u) {  // 65520 and above round to infinity
    half = 0x7C00u;
  } else if (magnitude <
             0x38800000u) {  // below 2^-14: the last place of 0.5f is the last place of a subnormal fp16
    half = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3F000000u;
  } else {
    half = (magnitude - 0x38000000u + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace freelunch::checkpoint
