#include "freelunch/gemm/gemm_bf16.h"

#include <ATen/native/CPUBlas.h>

#include "freelunch/kernels/paired_product.h"

namespace freelunch::gemm {
namespace {

namespace blas = at::native::cpublas;

bool has_tiles() {
  static const bool tiles = blas::could_pack(at::kBFloat16);
  return tiles;
}

}  // namespace

bool has_bf16_gemm() { return has_tiles() || kernels::avx512_paired_product() != nullptr; }

void gemm_bf16(int64_t m, int64_t n, int64_t k, const kernels::Bf16* a, int64_t a_stride, const uint32_t* b,
               int64_t b_stride, float* c, int64_t c_stride, bool add) {
  if (!has_tiles())
    return kernels::avx512_paired_product()(m, n, k, a, a_stride, b, b_stride, c, c_stride, add);
  blas::brgemm(m, n, k, a_stride, b_stride, c_stride, add, reinterpret_cast<const at::BFloat16*>(a),
               reinterpret_cast<const at::BFloat16*>(b), c);
}

void end_bf16_gemm() {
  if (has_tiles()) blas::brgemm_release();
}

}  // namespace freelunch::gemm
