#pragma once
#include "freelunch/model/weight_view.h"

namespace freelunch::pipeline {

/// What the machine does in a second, measured on matrix products of the model's own shapes.
struct MachineRates {
  double products = 0;       ///< floating-point operations in the compute dtype
  double fp32_products = 0;  ///< and in fp32
  double bytes = 0;          ///< read and written by sweeps over memory
};

/// Takes about a fifth of a second and 50 MB.
MachineRates measure_rates(const model::Config& config, const backend::Compute& compute);

}  // namespace freelunch::pipeline
