#include "freelunch/descent/schedule.h"

#include <algorithm>

namespace freelunch::reconstruct {

double scheduled_rate(double peak, int64_t step, int64_t steps) {
  constexpr double kWarmUp = 0.1;
  const auto n = static_cast<double>(steps);
  const auto s = static_cast<double>(step);
  return peak * std::min({(s + 1) / (kWarmUp * n), (n - s) / ((1 - kWarmUp) * n), 1.0});
}

}  // namespace freelunch::reconstruct
