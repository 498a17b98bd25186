#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace freelunch::tokenizer {

/// The "decoder" of a tokenizer.json: from the texts of tokens back to the text they came from.
class Decoder {
 public:
  /// GPT-2's alphabet.
  static Decoder byte_level();
  /// U+2581 is a space, <0xXX> a byte; prefix: whether encoding put one space in front.
  static Decoder sentencepiece(bool prefix);
  /// Handles ByteLevel, Metaspace, Replace of strings, ByteFallback, Fuse, Strip from the left and Sequence;
  /// any other leaves tokens as they are spelled.
  static Decoder from_json(const nlohmann::json& entry);

  /// Appends what one token of the vocabulary stands for; first: whether the text starts with it.
  void append(std::string& text, std::string_view token, bool first) const;

 private:
  void add(const nlohmann::json& entry);

  bool byte_level_ = false;
  bool byte_fallback_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;
  std::string stripped_;       // taken from the start of the text
  size_t stripped_times_ = 0;  // at most so often
};

}  // namespace freelunch::tokenizer
