#pragma once
#include <cstdint>

#include "freelunch/kernels/vector.h"

namespace freelunch::kernels {

/// Converts between an array of weights and the array of its retained weights alone. retained: one bit for
/// each weight, the first one in the lowest bit; n is a multiple of 64.
struct Compaction {
  /// from (n) -> to, widened to 32 bits. Returns the number of retained weights. `to` must have memory for 16
  /// more: whole vectors are written.
  int64_t (*gather)(const uint64_t* retained, int64_t n, const Bf16* from, uint32_t* to);
  int64_t (*gather_fp32)(const uint64_t* retained, int64_t n, const uint32_t* from, uint32_t* to);
  /// from (number of retained weights) -> to (n), 0 where a weight is removed.
  void (*scatter)(const uint64_t* retained, int64_t n, const uint32_t* from, Bf16* to);
  void (*scatter_fp32)(const uint64_t* retained, int64_t n, const uint32_t* from, uint32_t* to);
};

/// The fastest implementation that this machine runs.
const Compaction& compaction();
/// Plain C++.
const Compaction& portable_compaction();
/// With the compress and expand instructions of AVX-512; null if the machine lacks them.
const Compaction* avx512_compaction();

}  // namespace freelunch::kernels
