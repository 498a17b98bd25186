// For CPUs other than x86-64.
#include "freelunch/kernels/gemm_vnni.h"

namespace freelunch::kernels {

GemmVnni avx512_gemm_vnni() { return nullptr; }

}  // namespace freelunch::kernels
