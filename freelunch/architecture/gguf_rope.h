#pragma once
#include <string>

#include "freelunch/architecture/architecture.h"
#include "freelunch/architecture/config.h"
#include "freelunch/checkpoint/gguf/gguf.h"

namespace freelunch::model {

inline constexpr const char* kRopeFrequencies = "rope_freqs.weight";
inline constexpr const char* kRopeLongFactors = "rope_factors_long.weight";
inline constexpr const char* kRopeShortFactors = "rope_factors_short.weight";

/// Reads the scaling of rotary positions as llama.cpp does: a factor without a type is linear, the type
/// "none" ignores the factor, the tensors rope_factors_long and _short are longrope, rope_freqs must be Llama
/// 3's. `prefix` is that of the keys, `name` names the file in errors. The sizes and the RoPE base of
/// `config` must have been read. Throws Unsupported, naming key and value, for a scaling that llama.cpp
/// applies and this version does not.
RopeScaling read_rope_scaling(const checkpoint::GgufCheckpoint& file, const Config& config,
                              const GgufForm& form, const std::string& prefix, const std::string& name);

/// Adds the keys of a scaling. Throws Unsupported if GGUF cannot say it. Llama 3 scaling also needs
/// the tensor rope_freqs.weight, longrope the two of factors.
void write_rope_scaling(const Config& config, const GgufForm& form, checkpoint::GgufMetadata& metadata);

}  // namespace freelunch::model
