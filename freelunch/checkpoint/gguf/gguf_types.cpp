#include "freelunch/checkpoint/gguf/gguf_types.h"

#include <array>
#include <utility>

namespace freelunch::checkpoint {
namespace {

constexpr std::array<std::string_view, 13> kTypeNames{"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                      "int32",  "float32", "bool",   "string", "array",
                                                      "uint64", "int64",   "float64"};

constexpr std::array<std::pair<uint32_t, DType>, 19> kTensorTypes{{{0, DType::kF32},
                                                                   {1, DType::kF16},
                                                                   {2, DType::kQ4_0},
                                                                   {3, DType::kQ4_1},
                                                                   {6, DType::kQ5_0},
                                                                   {7, DType::kQ5_1},
                                                                   {8, DType::kQ8_0},
                                                                   {10, DType::kQ2_K},
                                                                   {11, DType::kQ3_K},
                                                                   {12, DType::kQ4_K},
                                                                   {13, DType::kQ5_K},
                                                                   {14, DType::kQ6_K},
                                                                   {20, DType::kIQ4_NL},
                                                                   {24, DType::kI8},
                                                                   {25, DType::kI16},
                                                                   {26, DType::kI32},
                                                                   {27, DType::kI64},
                                                                   {28, DType::kF64},
                                                                   {30, DType::kBF16}}};

}  // namespace

std::string_view name(GgufType type) {
  const auto i = static_cast<size_t>(type);
  return i < kTypeNames.size() ? kTypeNames[i] : "unknown";
}

std::optional<GgufType> gguf_type_named(std::string_view text) {
  for (size_t i = 0; i < kTypeNames.size(); ++i) {
    if (kTypeNames[i] == text) return static_cast<GgufType>(i);
  }
  return std::nullopt;
}

std::optional<DType> dtype_of_ggml(uint32_t ggml_type) {
  for (const auto& [number, dtype] : kTensorTypes) {
    if (number == ggml_type) return dtype;
  }
  return std::nullopt;
}

std::optional<uint32_t> ggml_type_of(DType dtype) {
  for (const auto& [number, known] : kTensorTypes) {
    if (known == dtype) return number;
  }
  return std::nullopt;
}

}  // namespace freelunch::checkpoint
