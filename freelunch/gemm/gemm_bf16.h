#pragma once
#include <cstdint>

#include "freelunch/kernels/gemm_vnni.h"

namespace freelunch::gemm {

/// GEMM of bf16 matrices on the CPU: LibTorch's kernel on CPUs with AMX, kernels/gemm_vnni otherwise. This
/// folder is separate from kernels/ because it links LibTorch and kernels/ must not.

/// Whether this CPU multiplies bf16 matrices faster than fp32 ones: with AMX or with the bf16 dot products of
/// AVX-512.
bool has_bf16_gemm();

/// a (m, k) with even k, times b in VNNI layout (kernels/bf16_layout.h), (k / 2, n) words, into c (m, n)
/// fp32. Accumulates in fp32. Call it only if has_bf16_gemm().
void gemm_bf16(const kernels::GemmSize& size, kernels::Strided<const kernels::Bf16> a,
               kernels::Strided<const uint32_t> b, kernels::Strided<float> c, kernels::Output output);

/// Elements of padding to put between the rows of a. If the stride is a power of two, all rows compete for
/// the same cache sets.
inline constexpr int64_t kRowPadding = 32;

/// Releases the AMX tiles of the calling thread. Each thread calls it after a series of GEMMs; until then the
/// tiles stay configured.
void end_bf16_gemm();

}  // namespace freelunch::gemm
