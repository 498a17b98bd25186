#pragma once
#include <cstdint>

#include "freelunch/kernels/bf16_layout.h"

namespace freelunch::kernels {

/// The size of a GEMM: a (m, k) times b (k, n) gives c (m, n).
struct GemmSize {
  int64_t m, n, k;
};

/// What a GEMM does to c.
enum class Output {
  kReplace,  ///< c = a b
  kAdd       ///< c += a b
};

/// GEMM of bf16 matrices with fp32 results. a (m, k) with even k; b in VNNI layout (bf16_layout.h), (k / 2,
/// n) words; c (m, n) fp32. Sums are accumulated in fp32, two terms at a time.
using GemmVnni = void (*)(const GemmSize& size, Strided<const Bf16> a, Strided<const uint32_t> b,
                          Strided<float> c, Output output);

/// With the bf16 dot products of AVX-512 (VDPBF16PS); null if the machine lacks them.
GemmVnni avx512_gemm_vnni();

}  // namespace freelunch::kernels
