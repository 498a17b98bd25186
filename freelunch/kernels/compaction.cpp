#include "freelunch/kernels/compaction.h"

namespace freelunch::kernels {
namespace {

template <typename From>
int64_t gather(const uint64_t* retained, int64_t n, const From* from, uint32_t* to) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += 64) {
    uint64_t word = retained[i / 64];
    for (int64_t j = 0; j < 64; ++j, word >>= 1U) {  // no branch on the mask: it is unpredictable
      to[count] = from[i + j];
      count += static_cast<int64_t>(word & 1U);
    }
  }
  return count;
}

template <typename To>
void scatter(const uint64_t* retained, int64_t n, const uint32_t* from, To* to) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += 64) {
    uint64_t word = retained[i / 64];
    for (int64_t j = 0; j < 64; ++j, word >>= 1U) {
      const auto bit = static_cast<uint32_t>(word & 1U);
      to[i + j] = static_cast<To>(from[count] & (0U - bit));
      count += bit;
    }
  }
}

}  // namespace

const Compaction& portable_compaction() {
  static constexpr Compaction kPortable{&gather<Bf16>, &gather<uint32_t>, &scatter<Bf16>, &scatter<uint32_t>};
  return kPortable;
}

const Compaction& compaction() {
  static const Compaction& chosen =
      avx512_compaction() != nullptr ? *avx512_compaction() : portable_compaction();
  return chosen;
}

}  // namespace freelunch::kernels
