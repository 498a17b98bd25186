#include "freelunch/architecture/config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

/// What the formulas of scaled frequencies divide by or take the logarithm of.
void validate_scaling(const LayerType& type, int64_t rotary_dim, const std::string& where) {
  const RopeScaling& s = type.rope_scaling;
  const auto is_positive = [](double value) { return std::isfinite(value) && value > 0; };
  if (s.kind == RopeScalingKind::kDynamic && rotary_dim <= 2)
    fail(ErrorKind::kBadFile, "{}: dynamic rope scaling needs more than {} rotary dimensions", where,
         rotary_dim);
  if (s.kind == RopeScalingKind::kYarn &&
      !(type.rope_theta != 1 && is_positive(s.beta_fast) && is_positive(s.beta_slow)))
    fail(ErrorKind::kBadFile,
         "{}: yarn with a rope theta of {}, beta_fast {} and beta_slow {} has no frequencies", where,
         type.rope_theta, s.beta_fast, s.beta_slow);
  if (!is_positive(s.original_length) || !is_positive(s.attention_factor))
    fail(ErrorKind::kBadFile,
         "{}: rope scaling with an original length of {} and an attention factor of {}, expected positive "
         "numbers",
         where, s.original_length, s.attention_factor);
  if (s.kind != RopeScalingKind::kLongRope) return;
  for (const std::vector<double>* factors : {&s.short_factors, &s.long_factors}) {
    if (std::cmp_not_equal(factors->size(), rotary_dim / 2) ||
        !std::all_of(factors->begin(), factors->end(), is_positive))
      fail(ErrorKind::kBadFile,
           "{}: longrope has {} factors, expected {} positive numbers, one for each frequency", where,
           factors->size(), rotary_dim / 2);
  }
}

void validate_attention(const Config& config, const std::string& where) {
  if (config.heads % config.kv_heads != 0) {
    fail(ErrorKind::kBadFile, "{}: {} attention heads cannot share {} key/value heads evenly", where,
         config.heads, config.kv_heads);
  }
  if (config.positions == PositionKind::kRotary && config.head_dim % 2 != 0) {
    fail(ErrorKind::kBadFile, "{}: head size {} is odd; rotary embeddings need pairs", where,
         config.head_dim);
  }
  if (!(config.rotary_share > 0 && config.rotary_share <= 1) || config.rotary_dim() < 2) {
    fail(ErrorKind::kBadFile, "{}: rotary share {} of a head of {} is not in (0, 1] or leaves no pair", where,
         config.rotary_share, config.head_dim);
  }
  if (config.positions == PositionKind::kRotary && config.rotary_dim() % 2 != 0) {
    fail(ErrorKind::kUnsupported,
         "{}: a rotary share of {} is {} of {} dimensions, an odd number, which is not supported", where,
         config.rotary_share, config.rotary_dim(), config.head_dim);
  }
  for (const LayerType& type : config.layer_types) {
    if (!(type.rope_theta > 0) || !(config.norm_epsilon >= 0) || !(type.rope_scaling.factor > 0)) {
      fail(ErrorKind::kBadFile,
           "{}: rope theta {}, rope factor {} and norm epsilon {} must be positive numbers", where,
           type.rope_theta, type.rope_scaling.factor, config.norm_epsilon);
    }
    validate_scaling(type, config.rotary_dim(), where);
    if (type.window && *type.window <= 0) {
      fail(ErrorKind::kBadFile, "{}: sliding window is {}, expected a positive length", where, *type.window);
    }
  }
  if (!config.layer_type_of_block.empty() &&
      std::cmp_not_equal(config.layer_type_of_block.size(), config.blocks)) {
    fail(ErrorKind::kBadFile, "{}: {} layer types for {} blocks", where, config.layer_type_of_block.size(),
         config.blocks);
  }
}

}  // namespace

int64_t Config::rotary_dim() const {
  return static_cast<int64_t>(static_cast<double>(head_dim) * rotary_share);
}

void Config::set_rotary_dim(int64_t dim) {
  rotary_share = static_cast<double>(dim) / static_cast<double>(head_dim);
  if (rotary_dim() < dim) rotary_share = std::nextafter(rotary_share, 2.0);  // the quotient was rounded down
}

void validate(const Config& config, const std::string& where) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"vocabulary", config.vocabulary},
      {"width", config.width},
      {"intermediate", config.intermediate},
      {"blocks", config.blocks},
      {"heads", config.heads},
      {"key/value heads", config.kv_heads},
      {"head size", config.head_dim},
      {"length", config.max_length},
      {"embedding width", config.embedding_width},
  };
  for (const auto& [name, value] : sizes) {
    if (value <= 0 || value > (int64_t{1} << 31)) {
      fail(ErrorKind::kBadFile, "{}: {} is {}, expected a positive size", where, name, value);
    }
  }
  if (config.blocks > kMostBlocks)
    fail(ErrorKind::kBadFile, "{}: {} blocks, expected at most {}", where, config.blocks, kMostBlocks);
  validate_attention(config, where);
  const Experts& experts = config.experts;
  if (experts.count != 0 && (experts.count < 0 || experts.count > 4096 || experts.intermediate <= 0 ||
                             experts.chosen <= 0 || experts.chosen > experts.count)) {
    fail(ErrorKind::kBadFile, "{}: invalid experts: {} of {} chosen for each token, of size {}", where,
         experts.chosen, experts.count, experts.intermediate);
  }
}

}  // namespace freelunch::model
