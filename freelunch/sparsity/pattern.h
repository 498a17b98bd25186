#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "freelunch/base/enum_names.h"

namespace freelunch::sparsity {

/// Removes the weights with the lowest scores of each group: exactly floor(zero_fraction * group size).
struct Unstructured {
  double zero_fraction = 0.5;  ///< in [0, 1)
  bool operator==(const Unstructured&) const = default;
};

/// Retains `keep` of every `of` consecutive weights along the input dimension. 1 <= keep < of <= 32.
struct NofM {
  int64_t keep = 2;
  int64_t of = 4;
  bool operator==(const NofM&) const = default;
};

using Pattern = std::variant<Unstructured, NofM>;

/// Which weights compete with each other under Unstructured: those of one output row, or of the whole matrix.
enum class Group { kRow, kMatrix };
inline constexpr EnumNames<Group, 2> kGroupNames{{{Group::kRow, "row"}, {Group::kMatrix, "matrix"}}};

/// "2:4" -> NofM{2, 4}; "0.5" or "50%" -> Unstructured{0.5}. Throws InvalidArgument naming the
/// expected forms.
Pattern parse_pattern(std::string_view text);
/// "2:4", "50%": the inverse of parse_pattern().
std::string to_string(const Pattern& pattern);
/// The fraction of zeros of a pattern.
double zero_fraction(const Pattern& pattern);
/// Throws InvalidArgument naming the tensor if `width` inputs are not a multiple of the M of an N:M pattern.
void check_width(const Pattern& pattern, int64_t width, const std::string& tensor);

}  // namespace freelunch::sparsity
