#pragma once
#include <cstdint>
#include <vector>

#include "freelunch/architecture/config.h"

namespace freelunch::structure {

/// The number of weights of a model of this configuration.
int64_t parameters_of(const model::Config& config);

/// The shapes of at most `most` weights that are worth trying: for each number of KV heads that engines load,
/// the widest MLP that fits, and for a mixture also the most experts that fit with whole MLPs. Shapes that
/// keep less than a quarter of the channels, heads or experts are left out. At most `limit`, those that cut
/// the fewest heads first. Throws InvalidArgument if there is none.
std::vector<model::Config> shapes_of_size(const model::Config& config, int64_t most, size_t limit = 8);

}  // namespace freelunch::structure
