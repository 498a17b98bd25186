#pragma once
#include <memory>
#include <utility>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// A tokenizer that answers as another one does; derived classes change some answers.
class WrappedTokenizer : public Tokenizer {
 public:
  explicit WrappedTokenizer(std::unique_ptr<Tokenizer> inner) : inner_(std::move(inner)) {}

  std::vector<TokenId> encode(std::string_view text, bool add_special) const override {
    return inner_->encode(text, add_special);
  }
  std::string decode(std::span<const TokenId> ids) const override { return inner_->decode(ids); }
  int64_t size() const override { return inner_->size(); }
  std::optional<TokenId> bos() const override { return inner_->bos(); }
  std::optional<TokenId> eos() const override { return inner_->eos(); }
  bool adds_bos() const override { return inner_->adds_bos(); }
  const std::string& token_text(TokenId id) const override { return inner_->token_text(id); }

 protected:
  std::unique_ptr<Tokenizer> inner_;
};

/// A tokenizer with more tokens than the model has rows in its embedding, such as Gemma 3 1B's with its image
/// token. encode() throws BadFile, naming the token, for a text that holds one without a row.
class BoundedTokenizer : public WrappedTokenizer {
 public:
  BoundedTokenizer(std::unique_ptr<Tokenizer> inner, int64_t rows)
      : WrappedTokenizer(std::move(inner)), rows_(rows) {}
  std::vector<TokenId> encode(std::string_view text, bool add_special) const override;

 private:
  int64_t rows_;
};

/// A tokenizer whose BOS and EOS are named by a file next to the vocabulary.
class NamedEndsTokenizer : public WrappedTokenizer {
 public:
  NamedEndsTokenizer(std::unique_ptr<Tokenizer> inner, std::optional<TokenId> bos, std::optional<TokenId> eos)
      : WrappedTokenizer(std::move(inner)), bos_(bos), eos_(eos) {}
  std::optional<TokenId> bos() const override { return bos_; }
  std::optional<TokenId> eos() const override { return eos_; }

 private:
  std::optional<TokenId> bos_, eos_;
};

}  // namespace freelunch::tokenizer
