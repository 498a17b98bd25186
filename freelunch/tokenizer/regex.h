#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace freelunch::tokenizer {

/// A compiled regular expression for UTF-8, with the character classes of the `tokenizers` library. Safe to
/// use from several threads at once.
class Regex {
 public:
  /// Throws Unsupported naming the expression, its fault and `file`, from which it comes.
  Regex(const std::string& pattern, std::string_view file);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  struct Match {
    size_t begin, end;
  };
  /// The first match at or after `from` in valid UTF-8. False if there is none. Throws Unsupported if the
  /// expression takes more than 10 million backtracking steps plus 100 for each byte.
  bool find(std::string_view text, size_t from, Match& match) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace freelunch::tokenizer
