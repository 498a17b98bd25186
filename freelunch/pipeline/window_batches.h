#pragma once
#include <cstdint>
#include <functional>

namespace freelunch::pipeline {

/// Visits windows [0, windows) in order, kWindowsPerPass at a time: visit(first, count, held_out). The last
/// `held_out` windows are the held-out ones; a batch never mixes the two kinds. Throws Interrupted on
/// request.
void for_each_batch(int64_t windows, int64_t held_out,
                    const std::function<void(int64_t, int64_t, bool)>& visit);

}  // namespace freelunch::pipeline
