#include "freelunch/architecture/shape.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "freelunch/architecture/architecture.h"
#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

constexpr int64_t kGgufBlock = 32;

/// The multiple to which a share of `channels` is rounded.
int64_t channel_step(int64_t channels) {
  if (channels >= 4096) return 256;
  if (channels >= 512) return 128;
  return channels >= 2 * kGgufBlock ? kGgufBlock : 1;
}

/// At least one step.
int64_t nearest_multiple(double value, int64_t step) {
  return std::max<int64_t>(1, std::llround(value / static_cast<double>(step))) * step;
}

/// `where` names the channels in errors.
int64_t kept_channels(int64_t channels, double asked, const char* where) {
  const int64_t step = channel_step(channels);
  if (asked <= 1) {
    const int64_t kept = nearest_multiple(asked * static_cast<double>(channels), step);
    if (kept >= channels)
      fail(ErrorKind::kInvalidArgument,
           "`mlp` {:g} keeps all {} channels of {}; the largest size below is {}", asked, channels, where,
           std::max<int64_t>(1, (channels - 1) / step * step));
    return kept;
  }
  if (asked != std::floor(asked))
    fail(ErrorKind::kInvalidArgument,
         "`mlp` {:g} is neither a share of at most 1 nor a whole number of channels", asked);
  const auto kept = static_cast<int64_t>(asked);
  const int64_t block = std::min(step, kGgufBlock);
  if (kept >= channels)
    fail(ErrorKind::kInvalidArgument, "`mlp` {} does not remove anything: {} has {} channels", kept, where,
         channels);
  if (kept % block != 0)
    fail(ErrorKind::kInvalidArgument,
         "`mlp` {}: llama.cpp quantises rows in blocks of {}, so it must be a multiple; the nearest is {}",
         kept, block, std::min(nearest_multiple(asked, block), (channels - 1) / block * block));
  return kept;
}

void cut_channels(Config& config, double asked) {
  Experts& experts = config.experts;
  const bool with_mlp = experts.count == 0 || std::find(experts.of_block.begin(), experts.of_block.end(),
                                                        false) != experts.of_block.end();
  const bool same = experts.count > 0 && experts.intermediate == config.intermediate;
  if (asked > 1 && experts.count > 0 && with_mlp && !same)
    fail(ErrorKind::kInvalidArgument,
         "`mlp` {:g}: experts have {} channels and other blocks {}; give a share of both, such as 0.75",
         asked, experts.intermediate, config.intermediate);
  if (experts.count > 0) experts.intermediate = kept_channels(experts.intermediate, asked, "an expert");
  if (same)
    config.intermediate = experts.intermediate;
  else if (with_mlp)
    config.intermediate = kept_channels(config.intermediate, asked, "the MLP");
}

/// The count at most `most` that is nearest to `wanted` and that `works`; 0 if none does.
template <typename Works>
int64_t nearest_count(int64_t wanted, int64_t most, Works works) {
  int64_t best = 0;
  for (int64_t n = 1; n <= most; ++n) {
    if (works(n) && (best == 0 || std::abs(n - wanted) < std::abs(best - wanted))) best = n;
  }
  return best;
}

/// Whether a mistral can hold what this llama computes: a mistral has no biases.
bool fits_mistral(const Config& config) {
  return config.architecture == "llama" && !config.qkv_bias && !config.output_bias && !config.mlp_bias;
}

/// Query heads that config.json can declare for this width under the architecture or its alias.
bool heads_load(const Config& config, int64_t heads) {
  const Architecture& architecture = architecture_of_model_type(config.architecture, "model");
  return architecture.heads != HeadRule::kDivideWidth || config.width % heads == 0 || fits_mistral(config);
}

void refuse_fixed_heads(const Config& config, const char* option) {
  const Architecture& architecture = architecture_of_model_type(config.architecture, "model");
  if (architecture.heads == HeadRule::kFixed)
    fail(ErrorKind::kInvalidArgument,
         "`{}`: {} derives the size of its heads from their number in transformers, vLLM or llama.cpp, so no "
         "head can be removed; `mlp` can",
         option, config.architecture);
}

void cut_kv_groups(Config& config, int64_t groups) {
  refuse_fixed_heads(config, "kv-groups");
  const int64_t readers = config.heads / config.kv_heads;
  const auto loads = [&](int64_t n) { return heads_load(config, n * readers); };
  if (groups >= config.kv_heads)
    fail(ErrorKind::kInvalidArgument, "`kv-groups` {} does not remove anything: the model has {} KV heads",
         groups, config.kv_heads);
  if (!loads(groups))
    fail(
        ErrorKind::kInvalidArgument,
        "`kv-groups` {} leaves {} query heads, and transformers loads a {} only if they divide its width {}; "
        "the nearest that works is {}",
        groups, groups * readers, config.architecture, config.width,
        nearest_count(groups, config.kv_heads - 1, loads));
  config.kv_heads = groups;
  config.heads = groups * readers;
}

void cut_heads(Config& config, int64_t heads) {
  refuse_fixed_heads(config, "heads");
  const auto works = [&](int64_t n) { return n % config.kv_heads == 0 && heads_load(config, n); };
  if (heads >= config.heads)
    fail(ErrorKind::kInvalidArgument, "`heads` {} does not remove anything: the model has {} query heads",
         heads, config.heads);
  if (!works(heads)) {
    const int64_t nearest = nearest_count(heads, config.heads - 1, works);
    const std::string reason =
        heads % config.kv_heads != 0
            ? fmt::format("each of the {} KV heads needs the same number of query heads", config.kv_heads)
            : fmt::format("transformers loads a {} only if its heads divide its width {}",
                          config.architecture, config.width);
    fail(ErrorKind::kInvalidArgument, "`heads` {}: {}; {}", heads, reason,
         nearest == 0 ? "no smaller number works" : fmt::format("the nearest that works is {}", nearest));
  }
  config.heads = heads;
}

void cut_experts(Config& config, int64_t kept) {
  Experts& experts = config.experts;
  if (experts.count == 0)
    fail(ErrorKind::kInvalidArgument, "`experts` {}: a {} has no experts", kept, config.architecture);
  if (kept >= experts.count)
    fail(ErrorKind::kInvalidArgument, "`experts` {} does not remove anything: each block has {} experts",
         kept, experts.count);
  if (kept < experts.chosen)
    fail(ErrorKind::kInvalidArgument,
         "`experts` {}: each token is routed to {} experts, so no engine loads fewer; the least is {}", kept,
         experts.chosen, experts.chosen);
  experts.count = kept;
}

void cut_blocks(Config& config, int64_t kept) {
  if (kept >= config.blocks)
    fail(ErrorKind::kInvalidArgument, "`blocks` {} does not remove anything: the model has {} blocks", kept,
         config.blocks);
  std::vector<int64_t> first(static_cast<size_t>(kept));
  std::iota(first.begin(), first.end(), 0);
  config = only_blocks(config, first);
}

}  // namespace

Config only_blocks(const Config& config, const std::vector<int64_t>& kept) {
  Config result = config;
  result.blocks = std::ssize(kept);
  result.layer_type_of_block.clear();
  result.experts.of_block.clear();
  for (const int64_t b : kept) {
    const auto i = static_cast<size_t>(b);
    if (!config.layer_type_of_block.empty())
      result.layer_type_of_block.push_back(config.layer_type_of_block.at(i));
    if (!config.experts.of_block.empty()) result.experts.of_block.push_back(config.experts.of_block.at(i));
  }
  return result;
}

Config shrunk(const Config& config, const ShapeRequest& request) {
  Config result = config;
  if (request.mlp) cut_channels(result, *request.mlp);
  if (request.kv_groups) cut_kv_groups(result, *request.kv_groups);
  if (request.heads) cut_heads(result, *request.heads);
  if (request.experts) cut_experts(result, *request.experts);
  if (request.blocks) cut_blocks(result, *request.blocks);
  const Architecture& architecture = architecture_of_model_type(config.architecture, "model");
  const bool other_heads = result.heads != config.heads;
  if (other_heads && architecture.heads == HeadRule::kDivideWidth && result.width % result.heads != 0)
    result.architecture = "mistral";
  validate(result, "the smaller model");
  return result;
}

std::string shape_change(const Config& before, const Config& after) {
  std::string text;
  const auto add = [&](const char* what, int64_t from, int64_t to) {
    if (from != to) text += fmt::format("{}{} {} -> {}", text.empty() ? "" : ", ", what, from, to);
  };
  if (before.experts.count == 0 || before.intermediate != before.experts.intermediate)
    add("MLP channels", before.intermediate, after.intermediate);
  add("expert channels", before.experts.intermediate, after.experts.intermediate);
  add("query heads", before.heads, after.heads);
  add("KV heads", before.kv_heads, after.kv_heads);
  add("experts", before.experts.count, after.experts.count);
  add("blocks", before.blocks, after.blocks);
  if (before.architecture != after.architecture) text += fmt::format(", saved as {}", after.architecture);
  return text;
}

}  // namespace freelunch::model
