#include "freelunch/plan/memory_options.h"

#include <array>
#include <charconv>
#include <utility>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

constexpr std::array<std::pair<std::string_view, double>, 11> kUnits{{{"", 1},
                                                                      {"B", 1},
                                                                      {"K", 1e3},
                                                                      {"KB", 1e3},
                                                                      {"M", 1e6},
                                                                      {"MB", 1e6},
                                                                      {"G", 1e9},
                                                                      {"GB", 1e9},
                                                                      {"KiB", 1024.0},
                                                                      {"MiB", 1048576.0},
                                                                      {"GiB", 1073741824.0}}};

}  // namespace

std::string_view name(model::ActivationPlacement place) { return name_in(kActivationPlacementNames, place); }

std::optional<int64_t> bytes_in(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const auto& [known, bytes] : kUnits) {
    if (error == std::errc() && unit == known && value > 0 && value * bytes < 9e18)
      return static_cast<int64_t>(value * bytes);
  }
  return std::nullopt;
}

std::string bytes_text(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (value < 1e3) return fmt::format("{} B", bytes);
  if (value < 999.5e3) return fmt::format("{:.0f} kB", value * 1e-3);
  if (value < 999.5e6) return fmt::format("{:.0f} MB", value * 1e-6);
  return fmt::format("{:.2f} GB", value * 1e-9);
}

model::ActivationSettings activation_settings(const MemoryOptions& options,
                                              const std::filesystem::path& folder) {
  const bool undecided = options.activations == model::ActivationPlacement::kAuto;
  return {.placement = undecided ? model::ActivationPlacement::kMemory : options.activations,
          .folder = folder,
          .dtype = options.activation_dtype.value_or(at::kFloat)};
}

}  // namespace freelunch::pipeline
