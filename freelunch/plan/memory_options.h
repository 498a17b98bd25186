#pragma once
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "freelunch/base/enum_names.h"
#include "freelunch/storage/activation_store.h"

namespace freelunch::pipeline {

inline constexpr EnumNames<model::ActivationPlacement, 4> kActivationPlacementNames{
    {{model::ActivationPlacement::kAuto, "auto"},
     {model::ActivationPlacement::kMemory, "memory"},
     {model::ActivationPlacement::kHost, "host"},
     {model::ActivationPlacement::kDisk, "disk"}}};
std::string_view name(model::ActivationPlacement place);

inline constexpr EnumNames<std::optional<at::ScalarType>, 3> kActivationDtypeNames{
    {{std::nullopt, "auto"}, {at::kFloat, "fp32"}, {at::kBFloat16, "bf16"}}};

/// Bytes of "2GiB", "700MB", "1.5G" (10^9 bytes each) or "800000000"; nothing if the text is no such size.
std::optional<int64_t> bytes_in(std::string_view text);
/// "1.61 GB", "84 MB", "12 kB", "300 B", in powers of ten.
std::string bytes_text(int64_t bytes);

struct MemoryOptions {
  model::ActivationPlacement activations = model::ActivationPlacement::kAuto;
  /// Of residual streams. Absent: fp32, or bf16 if fp32 does not fit.
  std::optional<at::ScalarType> activation_dtype;
  std::optional<int64_t> limit;  ///< bytes; the resident memory, or the device's, that a run may use
};

/// The settings that the stages work with: auto becomes memory, an absent dtype fp32. Files go to `folder`.
model::ActivationSettings activation_settings(const MemoryOptions& options,
                                              const std::filesystem::path& folder);

}  // namespace freelunch::pipeline
