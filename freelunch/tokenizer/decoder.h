#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace freelunch::tokenizer {

/// The "decoder" of a tokenizer.json: turns the texts of tokens back into the original text.
class Decoder {
 public:
  /// For tokens in the alphabet of GPT-2.
  static Decoder byte_level();
  /// U+2581 is a space, <0xXX> a byte. prefix: encoding put a space in front of the text.
  static Decoder sentencepiece(bool prefix);
  /// Handles ByteLevel, Metaspace, Replace of strings, ByteFallback, Fuse, Strip from the left and Sequence.
  /// Other decoders are ignored.
  static Decoder from_json(const nlohmann::json& entry);

  /// Appends the text of one token of the vocabulary. first: it is the first token of the text.
  void append(std::string& text, std::string_view token, bool first) const;

 private:
  void add(const nlohmann::json& entry);

  bool byte_level_ = false;
  bool byte_fallback_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;
  std::string stripped_;       // removed from the start of the text
  size_t stripped_times_ = 0;  // at most this many times
};

}  // namespace freelunch::tokenizer
