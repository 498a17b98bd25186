#include "freelunch/kernels/parallel.h"

namespace freelunch::kernels {

void parallel_for(int64_t n, const std::function<void(int64_t)>& body) {
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < n; ++i) body(i);
}

}  // namespace freelunch::kernels
