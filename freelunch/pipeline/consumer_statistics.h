#pragma once
#include <array>
#include <optional>

#include "freelunch/statistics/gram.h"
#include "freelunch/structure/refit.h"

namespace freelunch::pipeline {

/// Second moments of what a consumer of units reads and, if wanted, of what it should give, separately over
/// calibration windows and held-out windows.
class ConsumerStatistics {
 public:
  /// W (out, in) fp32: the consumer. `targets`: add() is given targets.
  ConsumerStatistics(at::Tensor W, bool targets);

  bool has_targets() const { return targets_; }
  /// X (..., in): inputs in our stream; Y (..., out) fp32: targets at the same tokens, undefined without
  /// them.
  void add(const at::Tensor& X, const at::Tensor& Y, bool held_out);

  int64_t tokens(bool held_out) const { return sides_.at(held_out ? 1 : 0).tokens; }
  /// (in, in) fp64. Throws Numerical if it is not finite.
  at::Tensor gram(bool held_out) const;
  at::Tensor sums(bool held_out) const { return sides_.at(held_out ? 1 : 0).sums; }
  /// The moments with target (1 - blend) W x + blend y; without targets W x.
  structure::ConsumerMoments moments(bool held_out, double blend) const;

 private:
  struct Side {
    std::optional<statistics::Gram> H;
    at::Tensor sums, B, targets, squares;
    int64_t tokens = 0;
  };
  at::Tensor W_;
  bool targets_;
  std::array<Side, 2> sides_;
};

}  // namespace freelunch::pipeline
