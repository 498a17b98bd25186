#pragma once
#include <cstdint>
#include <functional>

namespace freelunch::kernels {

/// body(i) for i from 0 to n - 1, shared by the threads of the one OpenMP pool that LibTorch uses as well;
/// whoever is free takes the next i. Whatever body computes must not depend on who runs it. It must not
/// throw.
void parallel_for(int64_t n, const std::function<void(int64_t)>& body);

}  // namespace freelunch::kernels
