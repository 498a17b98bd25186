#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::gemm {

/// Whether this CPU multiplies bf16 numbers faster than fp32 ones: by AMX tiles (LibTorch's products) or by
/// AVX-512's dot products (kernels/paired_product).
bool has_bf16_gemm();

/// c (m, n) fp32, rows c_stride apart = a (m, k) b (k, n), plus c if add. a: rows a_stride apart; b: paired
/// along k, (k / 2, n) words, the even row in the low half, b_stride apart; k is even. Only where
/// has_bf16_gemm().
void gemm_bf16(int64_t m, int64_t n, int64_t k, const kernels::Bf16* a, int64_t a_stride, const uint32_t* b,
               int64_t b_stride, float* c, int64_t c_stride, bool add);
/// The same where b's rows follow each other.
inline void gemm_bf16(int64_t m, int64_t n, int64_t k, const kernels::Bf16* a, int64_t a_stride,
                      const uint32_t* b, float* c, int64_t c_stride, bool add) {
  gemm_bf16(m, n, k, a, a_stride, b, n, c, c_stride, add);
}

/// Numbers to leave between rows of a: rows whose distance is a power of two share a cache's sets.
inline constexpr int64_t kApart = 32;

/// Each thread calls this after its last product of a kind: AMX tiles stay configured until then.
void end_bf16_gemm();

}  // namespace freelunch::gemm
