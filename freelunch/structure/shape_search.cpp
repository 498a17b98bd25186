#include "freelunch/structure/shape_search.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "freelunch/architecture/shape.h"
#include "freelunch/base/error.h"
#include "freelunch/model/layout.h"

namespace freelunch::structure {
namespace {

using model::Config;
using model::ShapeRequest;

/// The shape, if engines load it.
std::optional<Config> loadable(const Config& config, const ShapeRequest& request) {
  try {
    return model::shrunk(config, request);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInvalidArgument) throw;
    return std::nullopt;
  }
}

/// The largest share of channels, in steps of a hundredth of a percent, at which the model fits. Rounding to
/// whole steps of channels makes most of them alike.
std::optional<Config> widest_mlp(const Config& config, ShapeRequest request, int64_t most) {
  constexpr int64_t kShares = 10000;
  int64_t low = kShares / 4;
  int64_t high = kShares - 1;
  std::optional<Config> best;
  while (low <= high) {
    const int64_t middle = (low + high) / 2;
    request.mlp = static_cast<double>(middle) / static_cast<double>(kShares);
    const std::optional<Config> shape = loadable(config, request);
    // a share that is refused is one that rounds to all channels
    if (shape && parameters_of(*shape) <= most) {
      best = shape;
      low = middle + 1;
    } else {
      high = middle - 1;
    }
  }
  return best;
}

}  // namespace

int64_t parameters_of(const Config& config) {
  int64_t total = 0;
  const auto add = [&](int64_t block, const std::vector<model::WeightRole>& roles) {
    for (const model::WeightRole role : roles)
      total += c10::multiply_integers(model::shape_of(config, block, role));
  };
  add(-1, model::outer_roles(config));
  for (int64_t b = 0; b < config.blocks; ++b) add(b, model::block_roles(config, b));
  return total;
}

std::vector<Config> shapes_of_size(const Config& config, int64_t most, size_t limit) {
  std::vector<Config> shapes;
  const auto offer = [&](const std::optional<Config>& shape) {
    if (shape && shapes.size() < limit && parameters_of(*shape) <= most) shapes.push_back(*shape);
  };
  for (int64_t groups = config.kv_heads; groups * 4 >= config.kv_heads && groups >= 1; --groups) {
    ShapeRequest request;
    if (groups < config.kv_heads) {
      request.kv_groups = groups;
      const std::optional<Config> heads_alone = loadable(config, request);
      if (!heads_alone) continue;
      if (parameters_of(*heads_alone) <= most) {
        offer(heads_alone);
        continue;
      }
    }
    offer(widest_mlp(config, request, most));
  }
  for (int64_t experts = config.experts.count - 1; experts * 4 >= config.experts.count && experts >= 1;
       --experts) {
    const std::optional<Config> shape = loadable(config, {.experts = experts});
    if (!shape || parameters_of(*shape) > most) continue;
    offer(shape);
    break;
  }
  if (shapes.empty())
    fail(ErrorKind::kInvalidArgument,
         "no shape that engines load has at most {} weights and keeps a quarter of the channels, heads or "
         "experts; the model has {}",
         most, parameters_of(config));
  return shapes;
}

}  // namespace freelunch::structure
