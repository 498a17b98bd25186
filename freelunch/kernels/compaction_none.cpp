#include "freelunch/kernels/compaction.h"

namespace freelunch::kernels {

const Compaction* avx512_compaction() { return nullptr; }

}  // namespace freelunch::kernels
