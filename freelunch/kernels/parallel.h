#pragma once
#include <cstdint>
#include <functional>

namespace freelunch::kernels {

/// Calls body(i) for i = 0 .. n - 1 on the threads of OpenMP's pool, which LibTorch uses too. A free thread
/// takes the next i, so results must not depend on the thread. body must not throw.
void parallel_for(int64_t n, const std::function<void(int64_t)>& body);

}  // namespace freelunch::kernels
