#pragma once
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "freelunch/tokenizer/regex.h"

namespace freelunch::tokenizer {

/// The "normalizer" of a tokenizer.json: rewrites a text before it is cut into pieces.
class Normalizer {
 public:
  /// Handles NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Prepend, Replace and Sequence. Throws
  /// Unsupported naming any other.
  static Normalizer from_json(const nlohmann::json& entry, std::string_view file);

  bool empty() const { return steps_.empty(); }
  /// Valid UTF-8 in and out. Throws Unsupported if replacements make the text too long.
  std::string apply(std::string_view text) const;

 private:
  enum class Form { kNfc, kNfd, kNfkc, kNfkd };
  struct Lowercase {};
  struct StripAccents {};
  struct Strip {
    bool left, right;
  };
  struct Prepend {
    std::string text;
  };
  struct Replace {
    std::string literal;  ///< the text to search for if there is no expression
    std::optional<Regex> regex;
    std::string content;
  };
  using Step = std::variant<Form, Lowercase, StripAccents, Strip, Prepend, Replace>;

  void add(const nlohmann::json& entry, std::string_view file);
  static std::string apply(Form form, std::string_view text);
  static std::string apply(const Lowercase& step, std::string_view text);
  static std::string apply(const StripAccents& step, std::string_view text);
  static std::string apply(const Strip& step, std::string_view text);
  static std::string apply(const Prepend& step, std::string_view text);
  static std::string apply(const Replace& step, std::string_view text);

  std::vector<Step> steps_;
  std::string file_;  // for messages
};

/// Replaces every occurrence of `from` (not empty), from left to right.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

}  // namespace freelunch::tokenizer
