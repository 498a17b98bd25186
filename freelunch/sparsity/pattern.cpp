#include "freelunch/sparsity/pattern.h"

#include <charconv>

#include "freelunch/base/error.h"

namespace freelunch::sparsity {
namespace {

template <typename T>
bool parse_all(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

[[noreturn]] void refuse(std::string_view text) {
  fail(ErrorKind::kInvalidArgument,
       "pattern '{}' is not understood: expected KEEP:OF with 1 <= KEEP < OF <= 32 (such as 2:4), or a "
       "fraction of "
       "zeros in [0, 1) (such as 0.5 or 50%)",
       text);
}

}  // namespace

Pattern parse_pattern(std::string_view text) {
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    NofM pattern;
    if (!parse_all(text.substr(0, colon), pattern.keep) || !parse_all(text.substr(colon + 1), pattern.of) ||
        pattern.keep < 1 || pattern.keep >= pattern.of || pattern.of > 32) {
      refuse(text);
    }
    return pattern;
  }
  Unstructured pattern;
  const bool percent = text.ends_with('%');
  if (!parse_all(percent ? text.substr(0, text.size() - 1) : text, pattern.zero_fraction)) refuse(text);
  if (percent) pattern.zero_fraction /= 100;
  if (!(pattern.zero_fraction >= 0 && pattern.zero_fraction < 1)) refuse(text);
  return pattern;
}

std::string to_string(const Pattern& pattern) {
  if (const auto* n = std::get_if<NofM>(&pattern)) return fmt::format("{}:{}", n->keep, n->of);
  return fmt::format("{:.6g}%", 100 * std::get<Unstructured>(pattern).zero_fraction);
}

double zero_fraction(const Pattern& pattern) {
  if (const auto* n = std::get_if<NofM>(&pattern))
    return 1.0 - static_cast<double>(n->keep) / static_cast<double>(n->of);
  return std::get<Unstructured>(pattern).zero_fraction;
}

void check_width(const Pattern& pattern, int64_t width, const std::string& tensor) {
  const auto* n = std::get_if<NofM>(&pattern);
  if (n != nullptr && width % n->of != 0) {
    fail(ErrorKind::kInvalidArgument, "tensor '{}' has {} inputs, which pattern {} does not divide", tensor,
         width, to_string(pattern));
  }
}

}  // namespace freelunch::sparsity
