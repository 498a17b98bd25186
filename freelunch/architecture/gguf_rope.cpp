#include "freelunch/architecture/gguf_rope.h"

#include <algorithm>
#include <cmath>

#include "freelunch/base/error.h"

namespace freelunch::model {
namespace {

using checkpoint::GgufCheckpoint;
using checkpoint::GgufMetadata;
using checkpoint::GgufValue;

constexpr const char* kType = "rope.scaling.type";
constexpr const char* kFactor = "rope.scaling.factor";
constexpr const char* kOldFactor = "rope.scale_linear";
constexpr const char* kAttentionFactor = "rope.scaling.attn_factor";
constexpr const char* kOriginalLength = "rope.scaling.original_context_length";

/// The keys of one file.
class RopeKeys {
 public:
  RopeKeys(const GgufMetadata& metadata, const std::string& prefix, const std::string& name)
      : metadata_(metadata), prefix_(prefix), name_(name) {}

  std::string type() const { return metadata_.get_string(prefix_ + kType, "linear"); }
  double number(const char* key, double absent) const { return metadata_.get_float(prefix_ + key, absent); }
  double length(double absent) const {
    if (!metadata_.has(prefix_ + kOriginalLength)) return absent;
    return static_cast<double>(metadata_.get_uint(prefix_ + kOriginalLength));
  }
  /// Zero counts as absent.
  double factor() const {
    const double factor = number(kFactor, number(kOldFactor, 0));
    return factor == 0 ? 1 : factor;
  }
  /// Refuses a key that has another value than the only one that is supported.
  void require(const char* key, double absent, double value, std::string_view with) const {
    const double found = number(key, absent);
    if (std::abs(found - value) > 1e-6)
      fail(ErrorKind::kUnsupported, "{}: {}{} is {} with {}, which is not supported", name_, prefix_, key,
           found, with);
  }
  /// Refuses a factor and an attention factor, which llama.cpp would apply in addition to a tensor.
  void require_no_factors(const std::string& with) const {
    if (type() != "none" && std::abs(factor() - 1) > 1e-6)
      fail(ErrorKind::kUnsupported, "{}: {}{} is {} in addition to {}, which is not supported", name_,
           prefix_, kFactor, factor(), with);
  }

 private:
  const GgufMetadata& metadata_;
  const std::string& prefix_;
  const std::string& name_;
};

std::vector<double> read_factors(const GgufCheckpoint& file, const char* tensor, int64_t rotary_dim,
                                 const std::string& name) {
  const checkpoint::TensorInfo& info = file.at(tensor);
  if (info.elements() != rotary_dim / 2)
    fail(ErrorKind::kBadFile, "{}: {} holds {} frequencies, but {} rotary dimensions have {} pairs", name,
         tensor, info.elements(), rotary_dim, rotary_dim / 2);
  std::vector<float> values(static_cast<size_t>(info.elements()));
  file.read_f32(info, values);
  return {values.begin(), values.end()};
}

/// The file holds only the divisors of the frequencies. Llama 3.x uses the bounds 1 and 4, so the largest
/// divisor is the factor. The other divisors must then follow from llama3_divisors, or the file is refused.
RopeScaling scaling_of_divisors(const std::vector<double>& divisors, double theta, double original_length,
                                int64_t rotary_dim, const std::string& name) {
  const RopeScaling scaling{
      .kind = RopeScalingKind::kLlama3,
      .factor = divisors.empty() ? 1.0 : *std::max_element(divisors.begin(), divisors.end()),
      .original_length = original_length};
  const std::vector<double> expected = llama3_divisors(theta, scaling, rotary_dim);
  bool same = expected.size() == divisors.size();
  for (size_t i = 0; same && i < expected.size(); ++i)
    same = std::abs(expected[i] - divisors[i]) <= 1e-3 * expected[i];
  if (!same)
    fail(ErrorKind::kUnsupported, "{}: {} holds frequencies that are not those of Llama 3 scaling", name,
         kRopeFrequencies);
  return scaling;
}

RopeScaling read_longrope(const GgufCheckpoint& file, const Config& config, const RopeKeys& keys,
                          const std::string& name) {
  for (const char* tensor : {kRopeShortFactors, kRopeLongFactors}) {
    if (file.find(tensor) == nullptr)
      fail(ErrorKind::kUnsupported, "{}: longrope without the tensor '{}' is not supported", name, tensor);
  }
  const std::string type = keys.type();
  if (file.find(kRopeFrequencies) != nullptr || type == "yarn")
    fail(ErrorKind::kUnsupported, "{}: {} in addition to {} is not supported", name, kRopeLongFactors,
         type == "yarn" ? "rope scaling 'yarn'" : kRopeFrequencies);
  keys.require_no_factors(kRopeLongFactors);
  const int64_t dim = config.rotary_dim();
  return {.kind = RopeScalingKind::kLongRope,
          .original_length = keys.length(static_cast<double>(config.max_length)),
          .attention_factor = keys.number(kAttentionFactor, 1),
          .short_factors = read_factors(file, kRopeShortFactors, dim, name),
          .long_factors = read_factors(file, kRopeLongFactors, dim, name)};
}

RopeScaling read_yarn(const Config& config, const RopeKeys& keys) {
  const double ext_factor = keys.number("rope.scaling.yarn_ext_factor", -1);
  if (ext_factor >= 0) keys.require("rope.scaling.yarn_ext_factor", 1, 1, "yarn");
  keys.require("rope.scaling.yarn_attn_factor", 1, 1, "yarn");
  keys.require("rope.scaling.yarn_log_multiplier", 0, 0, "yarn");
  // not every version of llama.cpp reads these for every architecture
  keys.require("rope.scaling.yarn_beta_fast", 32, 32, "yarn");
  keys.require("rope.scaling.yarn_beta_slow", 1, 1, "yarn");
  const double factor = keys.factor();
  return {.kind = RopeScalingKind::kYarn,
          .factor = factor,
          .original_length = keys.length(static_cast<double>(config.max_length)),
          .attention_factor =
              keys.number(kAttentionFactor, 1) * default_attention_factor(RopeScalingKind::kYarn, factor, 1)};
}

}  // namespace

RopeScaling read_rope_scaling(const GgufCheckpoint& file, const Config& config, const GgufForm& form,
                              const std::string& prefix, const std::string& name) {
  const RopeKeys keys(file.metadata(), prefix, name);
  const std::string type = keys.type();
  const bool tensors = file.find(kRopeLongFactors) != nullptr || file.find(kRopeShortFactors) != nullptr;
  if (tensors && !form.factor_tensors)
    fail(ErrorKind::kUnsupported, "{}: the tensors {} and {} are not supported for {}", name,
         kRopeLongFactors, kRopeShortFactors, config.architecture);
  if (tensors || type == "longrope") return read_longrope(file, config, keys, name);
  if (type == "yarn" && file.find(kRopeFrequencies) == nullptr) return read_yarn(config, keys);
  keys.require(kAttentionFactor, 1, 1, "rope scaling '" + type + "'");
  if (file.find(kRopeFrequencies) != nullptr) {
    if (type != "none" && type != "linear")
      fail(ErrorKind::kUnsupported, "{}: {} in addition to rope scaling '{}' is not supported", name,
           kRopeFrequencies, type);
    keys.require_no_factors(kRopeFrequencies);
    return scaling_of_divisors(read_factors(file, kRopeFrequencies, config.rotary_dim(), name),
                               config.layer_types[0].rope_theta, keys.length(RopeScaling{}.original_length),
                               config.rotary_dim(), name);
  }
  if (type != "none" && type != "linear")
    fail(ErrorKind::kUnsupported,
         "{}: rope scaling '{}' is not supported; this version handles none, linear, yarn and longrope", name,
         type);
  if (type == "none" || keys.factor() == 1) return {};
  return {.kind = RopeScalingKind::kLinear, .factor = keys.factor()};
}

void write_rope_scaling(const Config& config, const GgufForm& form, GgufMetadata& metadata) {
  const RopeScaling& s = config.layer_types[0].rope_scaling;
  const std::string prefix = std::string(form.name) + ".";
  const auto number = [&](const char* key, double value) {
    metadata.add(prefix + key, GgufValue::float32(static_cast<float>(value)));
  };
  const auto type = [&](const char* name) { metadata.add(prefix + kType, GgufValue::string(name)); };
  const auto length = [&] {
    metadata.add(prefix + kOriginalLength,
                 GgufValue::uint32(static_cast<uint32_t>(std::llround(s.original_length))));
  };
  switch (s.kind) {
    case RopeScalingKind::kNone:
      return;
    case RopeScalingKind::kLinear:
      type("linear");
      return number(kFactor, s.factor);
    case RopeScalingKind::kLlama3:
      if (s.original_length != RopeScaling{}.original_length) length();
      return;
    case RopeScalingKind::kYarn: {
      if (s.beta_fast != RopeScaling{}.beta_fast || s.beta_slow != RopeScaling{}.beta_slow || !s.truncate)
        fail(ErrorKind::kUnsupported,
             "GGUF has no field for the bounds of yarn (beta_fast {}, beta_slow {}, truncate {}) of this {} "
             "model",
             s.beta_fast, s.beta_slow, s.truncate, config.architecture);
      type("yarn");
      number(kFactor, s.factor);
      const double own = default_attention_factor(RopeScalingKind::kYarn, s.factor, 1);
      if (std::abs(s.attention_factor - own) > 1e-6) number(kAttentionFactor, s.attention_factor / own);
      return length();
    }
    case RopeScalingKind::kLongRope:
      if (!form.factor_tensors) break;
      type("longrope");
      number(kAttentionFactor, s.attention_factor);
      return length();
    case RopeScalingKind::kDynamic:
      break;
  }
  fail(ErrorKind::kUnsupported, "GGUF has no field for {} rope scaling of this {} model",
       s.kind == RopeScalingKind::kDynamic ? "dynamic" : "longrope", config.architecture);
}

}  // namespace freelunch::model
