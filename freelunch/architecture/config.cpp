#include "freelunch/architecture/config.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

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
  for (const LayerType& type : config.layer_types) {
    if (!(type.rope_theta > 0) || !(config.norm_epsilon >= 0) || !(type.rope_scaling.factor > 0)) {
      fail(ErrorKind::kBadFile,
           "{}: rope theta {}, rope factor {} and norm epsilon {} must be positive numbers", where,
           type.rope_theta, type.rope_scaling.factor, config.norm_epsilon);
    }
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
  return static_cast<int64_t>(static_cast<double>(head_dim) * rotary_share) / 2 * 2;
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

std::vector<double> llama3_divisors(const LayerType& type, int64_t rotary_dim) {
  const RopeScaling& s = type.rope_scaling;
  std::vector<double> divisors;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    const double frequency =
        std::pow(type.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
    const double turns = s.original_length * frequency / (2 * std::numbers::pi);
    if (turns < s.low_frequency_factor) {
      divisors.push_back(s.factor);
    } else if (turns > s.high_frequency_factor) {
      divisors.push_back(1.0);
    } else {
      const double smooth =
          (turns - s.low_frequency_factor) / (s.high_frequency_factor - s.low_frequency_factor);
      divisors.push_back(1.0 / ((1 - smooth) / s.factor + smooth));
    }
  }
  return divisors;
}

}  // namespace freelunch::model
