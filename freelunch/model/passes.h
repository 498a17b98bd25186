#pragma once
#include <cstdint>

namespace freelunch::model {

/// Tokens that passed through a sublayer. A token that passes through a whole block counts twice.
struct Passes {
  int64_t forward = 0;
  int64_t recorded = 0;  ///< those recorded for a backward pass
};

/// The passes of this process so far, over all Forward objects. Reports take differences of it, because
/// passes over the model are the cost of a run.
Passes passes_so_far();

/// Adds to passes_so_far(). Called by Forward.
void count_pass(int64_t tokens);

}  // namespace freelunch::model
