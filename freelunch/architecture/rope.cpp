#include "freelunch/architecture/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace freelunch::model {
namespace {

/// theta^(-2 i / rotary_dim)
std::vector<double> plain_frequencies(double theta, int64_t rotary_dim) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < rotary_dim / 2; ++i)
    frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim)));
  return frequencies;
}

/// The base under which the longest wavelength grows in proportion to the length.
double dynamic_theta(double theta, const RopeScaling& s, int64_t rotary_dim, int64_t max_length,
                     int64_t length) {
  const auto dim = static_cast<double>(rotary_dim);
  const double ratio = static_cast<double>(std::max(length, max_length)) / static_cast<double>(max_length);
  return theta * std::pow(s.factor * ratio - (s.factor - 1), dim / (dim - 2));
}

/// The divisor of each frequency under yarn.
std::vector<double> yarn_divisors(double theta, const RopeScaling& s, int64_t rotary_dim) {
  const auto dim = static_cast<double>(rotary_dim);
  const auto index_of_turns = [&](double turns) {
    return dim * std::log(s.original_length / (turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
  };
  double low = index_of_turns(s.beta_fast), high = index_of_turns(s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1);
  if (low == high) high += 0.001;  // as transformers, so that the ramp is a step
  std::vector<double> divisors;
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    const double divided = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    divisors.push_back(1 / (divided / s.factor + (1 - divided)));
  }
  return divisors;
}

}  // namespace

std::vector<double> rotary_frequencies(double theta, const RopeScaling& scaling, int64_t rotary_dim,
                                       int64_t max_length, int64_t length) {
  if (scaling.kind == RopeScalingKind::kDynamic)
    theta = dynamic_theta(theta, scaling, rotary_dim, max_length, length);
  std::vector<double> frequencies = plain_frequencies(theta, rotary_dim);
  std::vector<double> divisors;
  if (scaling.kind == RopeScalingKind::kLinear) divisors.assign(frequencies.size(), scaling.factor);
  if (scaling.kind == RopeScalingKind::kLlama3) divisors = llama3_divisors(theta, scaling, rotary_dim);
  if (scaling.kind == RopeScalingKind::kYarn) divisors = yarn_divisors(theta, scaling, rotary_dim);
  if (scaling.kind == RopeScalingKind::kLongRope)
    divisors =
        static_cast<double>(length) > scaling.original_length ? scaling.long_factors : scaling.short_factors;
  for (size_t i = 0; i < divisors.size(); ++i) frequencies.at(i) /= divisors[i];
  return frequencies;
}

std::vector<double> llama3_divisors(double theta, const RopeScaling& s, int64_t rotary_dim) {
  std::vector<double> divisors;
  for (const double frequency : plain_frequencies(theta, rotary_dim)) {
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

double default_attention_factor(RopeScalingKind kind, double factor, double original_length) {
  if (factor <= 1) return 1;
  if (kind == RopeScalingKind::kYarn) return 0.1 * std::log(factor) + 1;
  return std::sqrt(1 + std::log(factor) / std::log(original_length));
}

}  // namespace freelunch::model
