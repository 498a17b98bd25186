#pragma once
#include <array>
#include <optional>

#include "freelunch/closed_form/closed_form.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/statistics/gram.h"

namespace freelunch::pipeline {

/// Second moments of the inputs of one group of matrices, separately over calibration windows and held-out
/// windows.
class GroupStatistics {
 public:
  struct Wanted {
    bool gram = false;    ///< H = X^T X; otherwise column norms only
    bool cross = false;   ///< also C = X^T Y and D = Y^T Y; needs gram
    bool metric = false;  ///< the solver will weigh errors by a metric, which needs H itself
  };
  /// `width`: inputs of the group.
  GroupStatistics(int64_t width, at::Device device, Wanted wanted);

  /// X, Y (windows, l, width): inputs in the pruned and in the dense stream; Y undefined without cross.
  void add(const at::Tensor& X, const at::Tensor& Y, bool held_out);

  /// Tokens added so far.
  int64_t tokens(bool held_out) const { return tokens_[held_out ? 1 : 0]; }
  /// Throws Numerical if an input or its square was not finite.
  void check_finite() const;
  /// What a criterion with these needs may look at, from the calibration windows. `damping` becomes the share
  /// of the mean diagonal that factorising H took (criteria::inverse_factor); unchanged if nothing is
  /// factorised.
  criteria::CalibrationStats stats(criteria::StatsNeeded needs, double& damping) const;
  /// The same if no token was added: every input counts the same.
  criteria::CalibrationStats stats_of_no_tokens(criteria::StatsNeeded needs) const;
  /// The moments in fp32. Call it after the last add() and stats(): the sums that they are made from are
  /// freed.
  const reconstruct::Moments& moments(bool held_out);

 private:
  struct Side {
    std::optional<statistics::Gram> H, D;
    std::optional<statistics::CrossGram> C;
  };
  Wanted wanted_;
  statistics::ColumnNorms norms_;
  std::array<Side, 2> sides_;
  std::array<std::optional<reconstruct::Moments>, 2> moments_;
  std::array<int64_t, 2> tokens_{};
};

}  // namespace freelunch::pipeline
