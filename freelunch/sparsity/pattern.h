#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "freelunch/base/enum_names.h"

namespace freelunch::sparsity {

/// The lowest-scoring fraction of each comparison group is removed: exactly floor(zero_fraction * group
/// size).
struct Unstructured {
  double zero_fraction = 0.5;  ///< in [0, 1)
  bool operator==(const Unstructured&) const = default;
};

/// Of every `of` consecutive weights along the input dimension, `keep` stay. 1 <= keep < of <= 32.
struct NofM {
  int64_t keep = 2;
  int64_t of = 4;
  bool operator==(const NofM&) const = default;
};

using Pattern = std::variant<Unstructured, NofM>;

/// What weights compete with each other under Unstructured: one output row, or the whole matrix.
enum class Group { kRow, kMatrix };
inline constexpr EnumNames<Group, 2> kGroupNames{{{Group::kRow, "row"}, {Group::kMatrix, "matrix"}}};

/// "2:4" -> NofM{2, 4}; "0.5" or "50%" -> Unstructured{0.5}. Throws InvalidArgument saying what is expected.
Pattern parse_pattern(std::string_view text);
/// "2:4", "50%": what parse_pattern reads.
std::string to_string(const Pattern& pattern);
/// The fraction of zeros a pattern asks for.
double zero_fraction(const Pattern& pattern);
/// Throws InvalidArgument if a matrix of that width cannot carry the pattern; names the tensor.
void check_width(const Pattern& pattern, int64_t width, const std::string& tensor);

}  // namespace freelunch::sparsity
