#pragma once
#include <cstdint>

namespace freelunch::reconstruct {

/// AdamW as methods.md sets it (Loshchilov and Hutter 2017, arXiv 1711.05101), weight decay 0.
struct AdamSettings {
  double learning_rate = 1e-3;  ///< the peak
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
};

/// Linear warm-up over the first tenth of the steps, then linear decay to 0. step counts from 0.
double scheduled_rate(double peak, int64_t step, int64_t steps);

}  // namespace freelunch::reconstruct
