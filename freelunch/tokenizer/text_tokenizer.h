#pragma once
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "freelunch/tokenizer/added_tokens.h"
#include "freelunch/tokenizer/bpe.h"
#include "freelunch/tokenizer/decoder.h"
#include "freelunch/tokenizer/normalizer.h"
#include "freelunch/tokenizer/pre_tokenizer.h"
#include "freelunch/tokenizer/tokenizer.h"
#include "freelunch/tokenizer/unigram.h"

namespace freelunch::tokenizer {

/// The checked parts of a tokenizer.
struct TokenizerParts {
  std::vector<std::string> texts;  ///< by id, including added tokens
  std::vector<AddedToken> added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  std::variant<Bpe, Unigram> model;
  std::vector<TokenId> prefix, suffix;  ///< the ids that the template adds
  Decoder decoder;
};

/// Tokenises in the order of the `tokenizers` library: finds added tokens, normalises the text between them,
/// cuts it into pieces and encodes each piece with the model.
class TextTokenizer : public Tokenizer {
 public:
  explicit TextTokenizer(TokenizerParts parts);

  std::vector<TokenId> encode(std::string_view text, bool add_special) const override;
  std::string decode(std::span<const TokenId> ids) const override;
  int64_t size() const override { return static_cast<int64_t>(parts_.texts.size()); }
  std::optional<TokenId> bos() const override { return bos_; }
  std::optional<TokenId> eos() const override { return eos_; }
  bool adds_bos() const override { return !parts_.prefix.empty(); }
  const std::string& token_text(TokenId id) const override;

 private:
  /// A range of Encoding::ids.
  struct Run {
    uint32_t begin, size;
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
  };
  /// The state of one call. Words repeat, so the ids of each word are cached.
  struct Encoding {
    std::vector<TokenId> out;
    std::unordered_map<std::string, Run, Hash, std::equal_to<>> cache;
    std::vector<TokenId> ids;  ///< of the cached words
  };

  void name_ends(const AddedToken& token);
  void encode_normalized(std::string_view text, bool starts_text, Encoding& encoding) const;
  void encode_word(std::string_view word, Encoding& encoding) const;

  TokenizerParts parts_;
  std::optional<TokenId> bos_, eos_;
  std::vector<bool> is_added_;
  AddedTokenFinder raw_{{}}, normalized_{{}};
};

}  // namespace freelunch::tokenizer
