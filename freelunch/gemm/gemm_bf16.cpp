#include "freelunch/gemm/gemm_bf16.h"

#include <ATen/native/CPUBlas.h>

namespace freelunch::gemm {
namespace {

namespace blas = at::native::cpublas;

bool has_amx() {
  static const bool tiles = blas::could_pack(at::kBFloat16);
  return tiles;
}

}  // namespace

bool has_bf16_gemm() { return has_amx() || kernels::avx512_gemm_vnni() != nullptr; }

void gemm_bf16(const kernels::GemmSize& size, kernels::Strided<const kernels::Bf16> a,
               kernels::Strided<const uint32_t> b, kernels::Strided<float> c, kernels::Output output) {
  if (!has_amx()) return kernels::avx512_gemm_vnni()(size, a, b, c, output);
  blas::brgemm(size.m, size.n, size.k, a.stride, b.stride, c.stride, output == kernels::Output::kAdd,
               reinterpret_cast<const at::BFloat16*>(a.data), reinterpret_cast<const at::BFloat16*>(b.data),
               c.data);
}

void end_bf16_gemm() {
  if (has_amx()) blas::brgemm_release();
}

}  // namespace freelunch::gemm
