// For CPUs other than x86-64.
#include "freelunch/kernels/bf16_layout.h"

namespace freelunch::kernels {

const Bf16Layout* avx512_bf16_layout() { return nullptr; }

}  // namespace freelunch::kernels
