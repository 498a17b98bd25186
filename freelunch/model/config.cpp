#include "model/config.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "base/error.h"

namespace freelunch::model {

void validate(const Config& config, const std::string& where) {
  const std::pair<const char*, int64_t> sizes[] = {
      {"vocabulary", config.vocabulary}, {"width", config.width},       {"intermediate", config.intermediate},
      {"blocks", config.blocks},         {"heads", config.heads},       {"key/value heads", config.kv_heads},
      {"head size", config.head_dim},    {"length", config.max_length},
  };
  for (const auto& [name, value] : sizes) {
    if (value <= 0 || value > (int64_t{1} << 31)) {
      fail(ErrorKind::kBadFile, "{}: {} is {}, expected a positive size", where, name, value);
    }
  }
  if (config.heads % config.kv_heads != 0) {
    fail(ErrorKind::kBadFile, "{}: {} attention heads cannot share {} key/value heads evenly", where,
         config.heads, config.kv_heads);
  }
  if (config.head_dim % 2 != 0) {
    fail(ErrorKind::kBadFile, "{}: head size {} is odd; rotary embeddings need pairs", where,
         config.head_dim);
  }
  if (!(config.rope_theta > 0) || !(config.norm_epsilon >= 0) || !(config.rope_scaling.factor > 0)) {
    fail(ErrorKind::kBadFile,
         "{}: rope theta {}, rope factor {} and norm epsilon {} must be positive numbers", where,
         config.rope_theta, config.rope_scaling.factor, config.norm_epsilon);
  }
  if (config.sliding_window && *config.sliding_window <= 0) {
    fail(ErrorKind::kBadFile, "{}: sliding window is {}, expected a positive length", where,
         *config.sliding_window);
  }
}

std::vector<double> llama3_divisors(const Config& config) {
  const RopeScaling& s = config.rope_scaling;
  std::vector<double> divisors;
  for (int64_t i = 0; i < config.head_dim / 2; ++i) {
    const double frequency =
        std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
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
