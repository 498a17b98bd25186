#pragma once
#include <cstdint>

#include "freelunch/base/enum_names.h"

namespace freelunch::reconstruct {

/// Windows in one training step unless the caller says otherwise. At the same number of tokens many small
/// steps beat few large ones (docs/decisions/0007).
inline constexpr int64_t kDefaultBatch = 1;

/// What a learning rate counts in.
enum class RateUnit {
  kAbsolute,  ///< Adam moves a weight by about the rate in each step
  kRelative   ///< by the rate times the size of the weights around it (update_sizes.h)
};
inline constexpr EnumNames<RateUnit, 2> kRateUnitNames{
    {{RateUnit::kAbsolute, "absolute"}, {RateUnit::kRelative, "relative"}}};

/// AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101) without weight decay.
struct AdamSettings {
  double learning_rate = 1e-3;  ///< the peak of the schedule
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
};

/// The learning rate of step 0 <= `step` < `steps`: linear warm-up to `peak` over the first tenth of the
/// steps, then linear decay to 0.
double scheduled_rate(double peak, int64_t step, int64_t steps);

}  // namespace freelunch::reconstruct
