#pragma once
#include <cstdint>
#include <random>
#include <vector>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

inline constexpr Bf16 kUntouched = 0x4242;

inline size_t at(int64_t i) { return static_cast<size_t>(i); }

/// n normally distributed numbers with the given standard deviation.
inline std::vector<float> numbers(int64_t n, unsigned seed, float size = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, size);
  std::vector<float> values(at(n));
  for (float& value : values) value = normal(random);
  return values;
}
inline std::vector<Bf16> rounded(const std::vector<float>& values) {
  std::vector<Bf16> result;
  for (const float value : values) result.push_back(to_bf16(value));
  return result;
}
/// The numbers in the type of a kernel: fp32 as they are, bf16 rounded.
template <typename T>
std::vector<T> in_type(const std::vector<float>& values) {
  std::vector<T> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) store(values[i], &result[i]);
  return result;
}
template <typename T>
double value(T number) {
  return static_cast<double>(to_float(number));
}

/// The halves of a word of the VNNI layout.
inline Bf16 low(uint32_t word) { return static_cast<Bf16>(word); }
inline Bf16 high(uint32_t word) { return static_cast<Bf16>(word >> 16U); }

}  // namespace freelunch::kernels
