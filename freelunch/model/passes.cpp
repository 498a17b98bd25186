#include "freelunch/model/passes.h"

#include <ATen/core/grad_mode.h>

#include <atomic>

namespace freelunch::model {
namespace {

std::atomic<int64_t> forward_tokens{0};
std::atomic<int64_t> recorded_tokens{0};

}  // namespace

Passes passes_so_far() { return {.forward = forward_tokens, .recorded = recorded_tokens}; }

void count_pass(int64_t tokens) {
  forward_tokens += tokens;
  if (at::GradMode::is_enabled()) recorded_tokens += tokens;
}

}  // namespace freelunch::model
