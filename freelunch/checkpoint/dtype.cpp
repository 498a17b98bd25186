#include "freelunch/checkpoint/dtype.h"

#include <array>
#include <limits>

namespace freelunch::checkpoint {
namespace {

struct Layout {
  std::string_view name;
  int64_t elements;
  int64_t bytes;
};

// In the order of DType. Block sizes: ggml-common.h.
constexpr std::array<Layout, 33> kLayouts{{
    {"F64", 1, 8},      {"F32", 1, 4},      {"F16", 1, 2},         {"BF16", 1, 2},        {"I64", 1, 8},
    {"I32", 1, 4},      {"I16", 1, 2},      {"I8", 1, 1},          {"U64", 1, 8},         {"U32", 1, 4},
    {"U16", 1, 2},      {"U8", 1, 1},       {"BOOL", 1, 1},        {"C64", 1, 8},         {"F8_E5M2", 1, 1},
    {"F8_E4M3", 1, 1},  {"F8_E8M0", 1, 1},  {"F8_E5M2FNUZ", 1, 1}, {"F8_E4M3FNUZ", 1, 1}, {"F6_E2M3", 4, 3},
    {"F6_E3M2", 4, 3},  {"F4", 2, 1},       {"Q4_0", 32, 18},      {"Q4_1", 32, 20},      {"Q5_0", 32, 22},
    {"Q5_1", 32, 24},   {"Q8_0", 32, 34},   {"Q2_K", 256, 84},     {"Q3_K", 256, 110},    {"Q4_K", 256, 144},
    {"Q5_K", 256, 176}, {"Q6_K", 256, 210}, {"IQ4_NL", 32, 18},
}};
static_assert(kLayouts[static_cast<size_t>(DType::kIQ4_NL)].name == "IQ4_NL");

const Layout& layout(DType dtype) { return kLayouts[static_cast<size_t>(dtype)]; }

}  // namespace

std::string_view name(DType dtype) { return layout(dtype).name; }

int64_t block_elements(DType dtype) { return layout(dtype).elements; }

int64_t block_bytes(DType dtype) { return layout(dtype).bytes; }

bool is_quantised(DType dtype) { return dtype >= DType::kQ4_0; }

bool converts_to_f32(DType dtype) {
  return is_quantised(dtype) || dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

std::optional<uint64_t> bytes_for(DType dtype, int64_t elements) {
  const auto [text, per_block, block_size] = layout(dtype);
  if (elements < 0 || elements % per_block != 0) return std::nullopt;
  const uint64_t blocks = static_cast<uint64_t>(elements / per_block);
  const uint64_t size = static_cast<uint64_t>(block_size);
  if (blocks > std::numeric_limits<uint64_t>::max() / size) return std::nullopt;
  return blocks * size;
}

}  // namespace freelunch::checkpoint
