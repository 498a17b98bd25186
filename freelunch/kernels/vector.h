#pragma once
#include <bit>
#include <cstdint>

/// Basic operations that the loops of this folder share. The loops are plain C++ that the compiler
/// vectorises. FREELUNCH_CLONES compiles a function for several instruction sets; the loader picks the best
/// one that the machine supports.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define FREELUNCH_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define FREELUNCH_CLONES
#endif
#define FREELUNCH_INLINE inline __attribute__((always_inline))

namespace freelunch::kernels {

/// The bits of a bfloat16 number.
using Bf16 = uint16_t;

FREELUNCH_INLINE float to_float(Bf16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}
FREELUNCH_INLINE float to_float(float value) { return value; }

/// Rounds to nearest, ties to even. NaN stays NaN.
FREELUNCH_INLINE Bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return static_cast<Bf16>(value == value ? rounded : 0x7fc0U);
}
FREELUNCH_INLINE void store(float value, Bf16* to) { *to = to_bf16(value); }
FREELUNCH_INLINE void store(float value, float* to) { *to = value; }

/// e^x with an error of about 2 units in the last place of fp32; 0 for x < -87, e^88 for x > 88. Splits x
/// into n ln 2 + r with an integer n and |r| <= ln 2 / 2; e^r is a polynomial of degree 6.
FREELUNCH_INLINE float exponential(float x) {
  constexpr float kRound =
      12582912.0F;  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits
  const float clamped = x < -87.0F ? -87.0F : (x > 88.0F ? 88.0F : x);
  const float shifted = clamped * 1.44269504F + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
  float p = 1.0F / 720;
  p = p * r + 1.0F / 120;
  p = p * r + 1.0F / 24;
  p = p * r + 1.0F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.0F;
  p = p * r + 1.0F;
  const float scale = std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000U);
  return x < -87.0F ? 0.0F : p * scale;
}

}  // namespace freelunch::kernels
