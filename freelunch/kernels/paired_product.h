#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// c (m, n) fp32, rows c_stride apart = a (m, k) b (k, n), plus c if add. a: rows a_stride apart; b: paired
/// along k, (k / 2, n) words, the even row in the low half, b_stride apart; k is even. Sums in fp32, two
/// terms at a time.
using PairedProduct = void (*)(int64_t m, int64_t n, int64_t k, const Bf16* a, int64_t a_stride,
                               const uint32_t* b, int64_t b_stride, float* c, int64_t c_stride, bool add);

/// By AVX-512's dot products of bf16 pairs, or null where the machine has none.
PairedProduct avx512_paired_product();

}  // namespace freelunch::kernels
