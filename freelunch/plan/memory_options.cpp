#include "freelunch/plan/memory_options.h"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

constexpr std::array<std::pair<model::ActivationPlacement, std::string_view>, 4> kPlaces{
    {{model::ActivationPlacement::kAuto, "auto"},
     {model::ActivationPlacement::kMemory, "memory"},
     {model::ActivationPlacement::kHost, "host"},
     {model::ActivationPlacement::kDisk, "disk"}}};

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

model::ActivationPlacement parse_activation_placement(std::string_view text) {
  for (const auto& [place, place_name] : kPlaces) {
    if (place_name == text) return place;
  }
  fail(ErrorKind::kInvalidArgument, "activations '{}' is not known; expected one of auto, memory, host, disk",
       text);
}

std::string_view name(model::ActivationPlacement place) {
  for (const auto& [known, place_name] : kPlaces) {
    if (known == place) return place_name;
  }
  return "";
}

std::optional<at::ScalarType> parse_activation_dtype(std::string_view text) {
  if (text == "auto") return std::nullopt;
  if (text == "fp32") return at::kFloat;
  if (text == "bf16") return at::kBFloat16;
  fail(ErrorKind::kInvalidArgument, "activation dtype '{}' is not known; expected one of auto, fp32, bf16",
       text);
}

int64_t parse_bytes(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  for (const auto& [known, bytes] : kUnits) {
    if (error == std::errc() && unit == known && value > 0 && value * bytes < 9e18)
      return static_cast<int64_t>(value * bytes);
  }
  fail(ErrorKind::kInvalidArgument, "'{}' is no size in bytes; expected a number such as 2GiB, 700MB or 1.5G",
       text);
}

std::string bytes_text(int64_t bytes) {
  const auto value = static_cast<double>(bytes);
  return value < 1e9 ? fmt::format("{:.0f} MB", value * 1e-6) : fmt::format("{:.2f} GB", value * 1e-9);
}

model::ActivationSettings activation_settings(const MemoryOptions& options,
                                              const std::filesystem::path& folder) {
  return {.placement = options.activations,
          .folder = folder,
          .dtype = options.activation_dtype.value_or(at::kFloat)};
}

}  // namespace freelunch::pipeline
