#pragma once
#include <ATen/core/TensorBody.h>

#include <string>
#include <string_view>
#include <vector>

#include "freelunch/base/random.h"

namespace freelunch::structure {

/// What a criterion may read of the inputs of the consumer, the matrix whose columns are the units (down for
/// channels, o for heads).
enum class UnitStats {
  kNothing,
  kMoments  ///< H and the sums
};

/// The candidates of one choice, and how many of them stay.
struct UnitChoice {
  at::Tensor W;            ///< (out, in) fp32: the consumer
  int64_t size = 1;        ///< consecutive columns of a unit: 1 for channels
  int64_t groups = 1;      ///< the units form this many equal runs, and each keeps the same number
  int64_t kept = 0;        ///< units that stay
  at::Tensor H;            ///< (in, in) fp64: sum_t x_t x_t^T over the calibration tokens
  at::Tensor sums;         ///< (in) fp64: sum_t x_t
  int64_t tokens = 0;      ///< how many they are
  bool intercept = false;  ///< the consumer has a bias that can take up the mean of what is removed
  RandomStream* random = nullptr;

  int64_t units() const { return W.size(1) / size; }
};

/// A criterion for units. It has either `score`, and the units with the smallest scores are removed, or
/// `choose`.
struct UnitCriterion {
  std::string_view name;
  UnitStats needs = UnitStats::kNothing;
  /// The importance of each unit, (units) in any floating dtype.
  at::Tensor (*score)(const UnitChoice& choice) = nullptr;
  /// The units that stay: int64 (kept), ascending, on the device of W.
  at::Tensor (*choose)(const UnitChoice& choice) = nullptr;
};

/// To add one, write its file NAME.cpp in criteria/ and add its name here.
#define FREELUNCH_UNIT_CRITERIA(X) X(obs) X(flap) X(wanda) X(magnitude) X(random)

#define FREELUNCH_DECLARE(name) const UnitCriterion& name();
FREELUNCH_UNIT_CRITERIA(FREELUNCH_DECLARE)
#undef FREELUNCH_DECLARE

const std::vector<const UnitCriterion*>& all_unit_criteria();
/// Throws InvalidArgument listing the names.
const UnitCriterion& unit_criterion_named(std::string_view name);

/// The units that a criterion keeps: int64 (kept), ascending. Throws InvalidArgument if kept is not in
/// [groups, units], if groups does not divide both, or if moments are missing that the criterion needs.
at::Tensor choose_units(const UnitCriterion& criterion, const UnitChoice& choice);

}  // namespace freelunch::structure
