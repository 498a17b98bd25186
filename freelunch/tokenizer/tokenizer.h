#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace freelunch::tokenizer {

using TokenId = int32_t;

/// Text to token ids and back. Safe to use from several threads at once.
class Tokenizer {
 public:
  Tokenizer() = default;
  virtual ~Tokenizer() = default;
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// The ids that the `tokenizers` library gives. Invalid UTF-8 is replaced by U+FFFD first, one for each
  /// maximal subpart, as Python's bytes.decode("utf-8", "replace") does. add_special: whether the tokenizer's
  /// own template (BOS, EOS) is applied; special tokens inside the text are recognised either way.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special = true) const = 0;
  /// The text of a sequence, special tokens kept; bytes as they are, so a cut character may be incomplete.
  virtual std::string decode(std::span<const TokenId> ids) const = 0;
  /// Largest id + 1.
  virtual int64_t size() const = 0;
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  /// Whether encode(text, true) puts BOS in front.
  virtual bool adds_bos() const = 0;
  /// As the vocabulary spells it. Throws InvalidArgument for an id that is not there.
  virtual const std::string& token_text(TokenId id) const = 0;
};

}  // namespace freelunch::tokenizer
