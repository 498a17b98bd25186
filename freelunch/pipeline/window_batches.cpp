#include "freelunch/pipeline/window_batches.h"

#include <algorithm>

#include "freelunch/base/interrupt.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

void for_each_batch(int64_t windows, int64_t held_out,
                    const std::function<void(int64_t, int64_t, bool)>& visit) {
  const int64_t trained = windows - held_out;
  for (int64_t i = 0; i < windows;) {
    throw_if_interrupted();
    const int64_t end = std::min(i + kWindowsPerPass, i < trained ? trained : windows);
    visit(i, end - i, i >= trained);
    i = end;
  }
}

}  // namespace freelunch::pipeline
