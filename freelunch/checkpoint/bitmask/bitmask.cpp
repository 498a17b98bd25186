#include "freelunch/checkpoint/bitmask/bitmask.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "freelunch/base/error.h"

namespace freelunch::checkpoint {
namespace {

/// Calls body with an integer type of this many bytes.
template <typename Body>
auto with_element(int64_t element_bytes, Body body) {
  switch (element_bytes) {
    case 1:
      return body(uint8_t{});
    case 2:
      return body(uint16_t{});
    case 4:
      return body(uint32_t{});
    case 8:
      return body(uint64_t{});
    default:
      fail(ErrorKind::kInvalidArgument, "bitmask: elements of {} bytes cannot be packed", element_bytes);
  }
}

template <typename Element>
Element element_at(const std::byte* data, int64_t index) {
  Element value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof value), sizeof value);
  return value;
}

/// The number of bits set in a mask, or -1 if it marks a column that does not exist.
int64_t marked(std::span<const std::byte> mask, int64_t columns) {
  int64_t count = 0;
  for (const std::byte byte : mask) count += std::popcount(std::to_integer<unsigned>(byte));
  const auto used = static_cast<unsigned>(columns % 8);
  const bool beyond = used != 0 && (std::to_integer<unsigned>(mask.back()) >> used) != 0;
  return beyond ? -1 : count;
}

}  // namespace

int64_t count_values(std::span<const std::byte> data, int64_t element_bytes) {
  return with_element(element_bytes, [&]<typename Element>(Element) {
    const auto elements = static_cast<int64_t>(data.size() / sizeof(Element));
    int64_t count = 0;
    for (int64_t i = 0; i < elements; ++i) count += element_at<Element>(data.data(), i) != 0 ? 1 : 0;
    return count;
  });
}

uint64_t archived_bytes(const MatrixShape& shape, int64_t values) {
  const int64_t index = shape.rows * (shape.mask_bytes() + static_cast<int64_t>(sizeof(int64_t)));
  return static_cast<uint64_t>(values * shape.element_bytes + index) + 2 * sizeof(int64_t);
}

PackedRows pack_rows(std::span<const std::byte> rows, const MatrixShape& shape, int64_t values_before) {
  return with_element(shape.element_bytes, [&]<typename Element>(Element) {
    const int64_t count =
        shape.columns == 0 ? 0 : static_cast<int64_t>(rows.size() / sizeof(Element)) / shape.columns;
    PackedRows packed;
    packed.mask.resize(static_cast<size_t>(count * shape.mask_bytes()));
    packed.values.resize(rows.size());  // the most there can be
    std::byte* value = packed.values.data();
    for (int64_t r = 0; r < count; ++r) {
      packed.row_offsets.push_back(values_before +
                                   (value - packed.values.data()) / static_cast<int64_t>(sizeof(Element)));
      std::byte* mask = packed.mask.data() + r * shape.mask_bytes();
      for (int64_t c = 0; c < shape.columns; ++c) {
        const auto element = element_at<Element>(rows.data(), r * shape.columns + c);
        if (element == 0) continue;
        mask[c / 8] |= std::byte{1} << static_cast<unsigned>(c % 8);
        std::memcpy(value, &element, sizeof element);
        value += sizeof element;
      }
    }
    packed.values.resize(static_cast<size_t>(value - packed.values.data()));
    return packed;
  });
}

bool unpack_row(std::span<const std::byte> mask, std::span<const std::byte> values, const MatrixShape& shape,
                std::span<std::byte> out) {
  const auto size = static_cast<size_t>(shape.element_bytes);
  if (marked(mask, shape.columns) * shape.element_bytes != static_cast<int64_t>(values.size())) return false;
  std::fill(out.begin(), out.end(), std::byte{0});
  const std::byte* value = values.data();
  for (size_t i = 0; i < mask.size(); ++i) {
    for (auto bits = std::to_integer<unsigned>(mask[i]); bits != 0; bits &= bits - 1) {
      const size_t column = 8 * i + static_cast<size_t>(std::countr_zero(bits));
      std::memcpy(out.data() + column * size, value, size);
      value += size;
    }
  }
  return true;
}

}  // namespace freelunch::checkpoint
