#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// A matrix in memory: the elements of a row are contiguous, `stride` elements lie between the starts of two
/// rows.
template <typename T>
struct Strided {
  T* data;
  int64_t stride;
};

/// Changes of the memory layout of bf16 matrices.
///
/// The VNNI layout of a matrix (k, n) with even k is (k / 2, n) words of 32 bits. Word (i, j) holds element
/// (2 i, j) in its low half and element (2 i + 1, j) in its high half:
///
///     b00 b01 b02
///     b10 b11 b12        b10|b00  b11|b01  b12|b02
///     b20 b21 b22   ->   b30|b20  b31|b21  b32|b22
///     b30 b31 b32
///
/// The bf16 dot products of x86 (VDPBF16PS of AVX-512, TDPBF16PS of AMX) read the right-hand side of a GEMM
/// in this layout: one word is a pair of consecutive terms of a sum.
struct Bf16Layout {
  /// rows (n, width), width even -> the VNNI layout of the transpose (width, n): to (width / 2, n).
  void (*transpose_to_vnni)(int64_t n, int64_t width, Strided<const Bf16> rows, uint32_t* to);
  /// rows (n, width) -> the transpose, to (width, n). If n is odd, a zero follows each row of `to`. The
  /// stride of `to` is even and at least n.
  void (*transpose)(int64_t n, int64_t width, Strided<const Bf16> rows, Strided<Bf16> to);
  /// from (width, n) fp32 -> the transpose with row r times factor (n)[r], rounded: to (n, width).
  void (*transpose_scaled)(int64_t n, int64_t width, Strided<const float> from, const float* factor,
                           Strided<Bf16> to);
};

/// The fastest implementation that this machine runs.
const Bf16Layout& bf16_layout();
/// Plain C++.
const Bf16Layout& portable_bf16_layout();
/// With AVX-512 and its conversions to bf16; null if the machine lacks them.
const Bf16Layout* avx512_bf16_layout();

/// rows (n, width) -> their VNNI layout, to (ceil(n / 2), width). If n is odd, a row of zeros is added.
void to_vnni(int64_t n, int64_t width, Strided<const Bf16> rows, uint32_t* to);

}  // namespace freelunch::kernels
