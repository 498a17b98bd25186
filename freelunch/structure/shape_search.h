#pragma once
#include <cstdint>
#include <vector>

#include "freelunch/architecture/config.h"

namespace freelunch::structure {

/// The number of weights of a model of this configuration.
int64_t parameters_of(const model::Config& config);

/// The shapes of at most `most` weights that are worth trying, at most `limit`:
///   - the widest MLP that fits, with everything else whole
///   - as many experts as fit
///   - as many blocks as fit, and half and a quarter of those removals with the widest MLP that fits; the
///     shape keeps the first blocks, as shrunk() does
///   - each number of KV heads that engines load, with the widest MLP that fits.
/// Shapes that keep less than a quarter of the channels, heads, blocks or experts are left out. Throws
/// InvalidArgument if there is none.
std::vector<model::Config> shapes_of_size(const model::Config& config, int64_t most, size_t limit = 8);

}  // namespace freelunch::structure
