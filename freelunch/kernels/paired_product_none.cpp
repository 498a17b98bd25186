// Where there is no AVX-512.
#include "freelunch/kernels/paired_product.h"

namespace freelunch::kernels {

PairedProduct avx512_paired_product() { return nullptr; }

}  // namespace freelunch::kernels
