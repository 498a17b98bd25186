#pragma once
#include <cstdint>

namespace freelunch::model {

/// Tokens that went through a sublayer of a block, each sublayer counted by itself.
struct Passes {
  int64_t forward = 0;
  int64_t recorded = 0;  ///< of those, with the graph that a backward pass needs
};

/// What this process has computed so far, by whichever Forward. Reports take differences of it: passes over
/// the model are what a run costs.
Passes passes_so_far();

/// Forward counts itself with this.
void count_pass(int64_t tokens);

}  // namespace freelunch::model
