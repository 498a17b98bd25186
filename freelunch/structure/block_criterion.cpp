#include "freelunch/structure/block_criterion.h"

#include <algorithm>
#include <numeric>

namespace freelunch::structure {

std::vector<int64_t> highest_blocks(const std::vector<double>& scores, int64_t kept) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(kept));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<int64_t> all_but_lowest_run(const std::vector<double>& scores, int64_t blocks, int64_t removed) {
  const int64_t first = std::min_element(scores.begin(), scores.end()) - scores.begin();
  std::vector<int64_t> kept;
  for (int64_t b = 0; b < blocks; ++b) {
    if (b < first || b >= first + removed) kept.push_back(b);
  }
  return kept;
}

}  // namespace freelunch::structure
