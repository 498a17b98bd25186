#pragma once
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

/// What the AVX-512 files of this folder share; x86-64 only. Each function names the instructions it needs,
/// so the rest of the program does not need them.
#define FREELUNCH_AVX512_BF16 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace freelunch::kernels {

inline constexpr int64_t kLanes = 16;  ///< 32-bit lanes of a register

/// A mask of the first n lanes: none if n < 0, all if n > 16.
inline __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>((1U << static_cast<unsigned>(std::clamp<int64_t>(n, 0, kLanes))) - 1U);
}

/// Whether this machine has the instructions of FREELUNCH_AVX512_BF16.
inline bool has_avx512_bf16() {
  static const bool found = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bf16");
  return found;
}

}  // namespace freelunch::kernels
