#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace freelunch::tokenizer {

/// A compiled regular expression over UTF-8, with the white-space class of Unicode as the `tokenizers`
/// library has it. Safe to use from several threads at once.
class Regex {
 public:
  /// Throws Unsupported naming the expression and what is wrong with it; `file` is where it stands.
  Regex(const std::string& pattern, std::string_view file);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  struct Match {
    size_t begin, end;
  };
  /// The first match at or after `from` in valid UTF-8. False if there is none. Throws Unsupported where the
  /// expression backtracks beyond 10 million steps and 100 a byte.
  bool find(std::string_view text, size_t from, Match& match) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace freelunch::tokenizer
