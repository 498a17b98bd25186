// For CPUs other than x86-64.
#include "freelunch/kernels/attention_tiles.h"

namespace freelunch::kernels {

const AttentionTiles* avx512_attention_tiles() { return nullptr; }

}  // namespace freelunch::kernels
