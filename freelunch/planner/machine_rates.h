#pragma once
#include "freelunch/model/weight_view.h"

namespace freelunch::pipeline {

/// Speed of the machine, per second.
struct MachineRates {
  double products = 0;       ///< floating-point operations of GEMMs in the compute dtype
  double fp32_products = 0;  ///< the same in fp32
  double bytes = 0;          ///< bytes read or written by elementwise passes over memory
};

/// Measures the rates on GEMMs of the model's own widths. Takes about 0.2 seconds and 50 MB.
MachineRates measure_rates(const model::Config& config, const backend::Compute& compute);

}  // namespace freelunch::pipeline
