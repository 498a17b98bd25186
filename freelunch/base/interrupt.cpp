#include "freelunch/base/interrupt.h"

#include <atomic>

#include "freelunch/base/error.h"

namespace freelunch {
namespace {
std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");
}  // namespace

void request_interrupt() noexcept { requested.store(true, std::memory_order_relaxed); }
void clear_interrupt() noexcept { requested.store(false, std::memory_order_relaxed); }

bool interrupt_requested() noexcept { return requested.load(std::memory_order_relaxed); }

void throw_if_interrupted() {
  if (interrupt_requested()) fail(ErrorKind::kInterrupted, "interrupted by the user");
}

}  // namespace freelunch
