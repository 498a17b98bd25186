#pragma once
#include <algorithm>
#include <cstdint>

namespace freelunch::pipeline {

/// Default learning rates were measured at width 576 (SmolLM2-135M). They fall as 1 / width above it and stay
/// constant below (docs/methods/learning_rate.md).
inline double rate_scale(int64_t width) { return std::min(1.0, 576 / static_cast<double>(width)); }

}  // namespace freelunch::pipeline
