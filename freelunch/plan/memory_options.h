#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "freelunch/storage/activation_store.h"

namespace freelunch::pipeline {

/// "auto", "memory", "host", "disk". Throws InvalidArgument for anything else.
model::ActivationPlacement parse_activation_placement(std::string_view text);
std::string_view name(model::ActivationPlacement place);

/// "fp32", "bf16", or "auto": absent. Throws InvalidArgument for anything else.
std::optional<at::ScalarType> parse_activation_dtype(std::string_view text);

/// Bytes of "2GiB", "700MB", "1.5G" (of 10^9) or "800000000". Throws InvalidArgument.
int64_t parse_bytes(std::string_view text);
/// "1.61 GB", "84 MB", in powers of ten.
std::string bytes_text(int64_t bytes);

struct MemoryOptions {
  model::ActivationPlacement activations = model::ActivationPlacement::kAuto;
  std::optional<at::ScalarType> activation_dtype;  ///< of residual streams; absent: fp32, bf16 only to fit
  std::optional<int64_t> limit;  ///< bytes that the run is to stay below: resident, or of its device
};

/// What the stages are to do, auto and absent resolved to memory and fp32. `folder` is where files go.
model::ActivationSettings activation_settings(const MemoryOptions& options,
                                              const std::filesystem::path& folder);

}  // namespace freelunch::pipeline
