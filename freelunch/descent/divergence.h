#pragma once
#include <cstdint>
#include <string>

#include "freelunch/base/error.h"

namespace freelunch::reconstruct {

/// A number that was not finite during training.
struct Divergence {
  std::string what;  ///< "the loss", "the gradient of 'model.norm.weight'"
  int64_t step;      ///< counted from 1
  int64_t steps;

  std::string text() const { return fmt::format("{} is not finite at step {} of {}", what, step, steps); }
};

}  // namespace freelunch::reconstruct
