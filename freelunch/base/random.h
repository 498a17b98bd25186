#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace freelunch {

/// A named, seeded stream of random numbers: the same (seed, name) gives the same numbers on every machine.
/// Each random choice of the library has its own stream, so a new choice does not change the existing ones.
/// Generator: SplitMix64 (Steele et al. 2014), started from the seed and an FNV-1a hash of the name.
class RandomStream {
 public:
  RandomStream(uint64_t seed, std::string_view name);

  uint64_t next();
  /// Uniform in [0, bound), without modulo bias. bound > 0.
  uint64_t below(uint64_t bound);
  /// Uniform in [0, 1).
  double uniform();
  /// The numbers 0 .. n-1 in random order (Fisher-Yates).
  std::vector<int64_t> permutation(int64_t n);

 private:
  uint64_t state_;
};

}  // namespace freelunch
