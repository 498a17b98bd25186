#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace freelunch::tokenizer {

using TokenId = int32_t;

/// Converts text to token ids and back. Safe to use from several threads at once.
class Tokenizer {
 public:
  Tokenizer() = default;
  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// The ids of a text, equal to those of the `tokenizers` library. First, invalid UTF-8 is replaced by
  /// U+FFFD, one for each maximal subpart, as bytes.decode("utf-8", "replace") of Python does. add_special:
  /// apply the tokenizer's template (BOS, EOS). Special tokens inside the text are recognised in any case.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special = true) const = 0;
  /// The text of a sequence of ids, including special tokens. If the sequence cuts a character, the bytes of
  /// that character are incomplete.
  virtual std::string decode(std::span<const TokenId> ids) const = 0;
  /// The largest id plus one.
  virtual int64_t size() const = 0;
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  /// Whether encode(text, true) puts BOS in front.
  virtual bool adds_bos() const = 0;
  /// The spelling of a token in the vocabulary. Throws InvalidArgument for an unknown id.
  virtual const std::string& token_text(TokenId id) const = 0;
};

}  // namespace freelunch::tokenizer
