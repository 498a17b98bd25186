#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// Moves between a row of weights and its kept entries alone. kept: one bit a weight, the first in the lowest
/// bit; n is a multiple of 64. `to` of gather has room for 16 entries more than are kept.
struct Compaction {
  /// from (n) -> to (kept), widened to 32 bits; returns how many.
  int64_t (*gather)(const uint64_t* kept, int64_t n, const Bf16* from, uint32_t* to);
  int64_t (*gather_fp32)(const uint64_t* kept, int64_t n, const uint32_t* from, uint32_t* to);
  /// from (kept) -> to (n), 0 where a weight is removed.
  void (*scatter)(const uint64_t* kept, int64_t n, const uint32_t* from, Bf16* to);
  void (*scatter_fp32)(const uint64_t* kept, int64_t n, const uint32_t* from, uint32_t* to);
};

/// The fastest that this machine runs.
const Compaction& compaction();
/// Plain C++.
const Compaction& portable_compaction();
/// By AVX-512's compress and expand instructions, or null where the machine has none.
const Compaction* avx512_compaction();

}  // namespace freelunch::kernels
