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

/// The shapes that are small enough, up to a number of them.
class Offers {
 public:
  Offers(int64_t most, size_t limit) : most_(most), limit_(limit) {}

  bool fits(const Config& shape) const { return parameters_of(shape) <= most_; }
  /// Returns whether the shape is taken.
  bool add(const std::optional<Config>& shape) {
    if (!shape || shapes_.size() >= limit_ || !fits(*shape)) return false;
    shapes_.push_back(*shape);
    return true;
  }
  /// The shape, or where it is too large the same with the widest MLP that makes it fit.
  void add_with_mlp(const Config& config, const ShapeRequest& request) {
    const std::optional<Config> shape = loadable(config, request);
    if (shape && !add(shape)) add(widest_mlp(config, request, most_));
  }
  std::vector<Config> take() { return std::move(shapes_); }

 private:
  int64_t most_;
  size_t limit_;
  std::vector<Config> shapes_;
};

/// As many experts as fit.
void fewer_experts(const Config& config, Offers& offers) {
  for (int64_t experts = config.experts.count - 1; experts * 4 >= config.experts.count && experts >= 1;
       --experts) {
    if (offers.add(loadable(config, {.experts = experts}))) return;
  }
}

/// As many blocks as fit, and half and a quarter of those removals together with a narrower MLP. Where only
/// some blocks are mixtures, the size depends on which blocks go, so none go.
void fewer_blocks(const Config& config, Offers& offers) {
  if (!config.experts.of_block.empty()) return;
  int64_t alone = 1;
  const auto remaining = [&](int64_t removed) {
    return loadable(config, {.blocks = config.blocks - removed});
  };
  while (alone < config.blocks - 1 && !offers.fits(remaining(alone).value_or(config))) ++alone;
  int64_t former = 0;
  for (const int64_t removed : {alone, (alone + 1) / 2, (alone + 3) / 4}) {
    const int64_t kept = config.blocks - removed;
    if (removed == former || kept * 4 < config.blocks || kept < 1) continue;
    former = removed;
    offers.add_with_mlp(config, {.blocks = kept});
  }
}

/// Each number of KV heads that engines load, with the widest MLP that fits.
void fewer_groups(const Config& config, Offers& offers) {
  for (int64_t groups = config.kv_heads - 1; groups * 4 >= config.kv_heads && groups >= 1; --groups)
    offers.add_with_mlp(config, {.kv_groups = groups});
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
  Offers offers(most, limit);
  offers.add(widest_mlp(config, {}, most));
  fewer_experts(config, offers);
  fewer_blocks(config, offers);
  fewer_groups(config, offers);
  std::vector<Config> shapes = offers.take();
  if (shapes.empty())
    fail(ErrorKind::kInvalidArgument,
         "no shape that engines load has at most {} weights and keeps a quarter of the channels, heads, "
         "blocks or experts; the model has {}",
         most, parameters_of(config));
  return shapes;
}

}  // namespace freelunch::structure
