#include "freelunch/tokenizer/text_tokenizer.h"

#include <algorithm>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"

namespace freelunch::tokenizer {

TextTokenizer::TextTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
  std::vector<AddedToken> raw;
  std::vector<AddedToken> normalized;
  for (AddedToken& token : parts_.added) {
    is_added_.resize(std::max(is_added_.size(), static_cast<size_t>(token.id) + 1));
    is_added_[static_cast<size_t>(token.id)] = true;
    name_ends(token);
    if (token.normalized) token.content = parts_.normalizer.apply(token.content);
    (token.normalized ? normalized : raw).push_back(std::move(token));
  }
  parts_.added.clear();
  raw_ = AddedTokenFinder(std::move(raw));
  normalized_ = AddedTokenFinder(std::move(normalized));
  // the template names BOS and EOS
  if (!parts_.prefix.empty()) bos_ = parts_.prefix.front();
  if (!parts_.suffix.empty()) eos_ = parts_.suffix.back();
}

/// BOS and EOS by their usual names, if no template names them.
void TextTokenizer::name_ends(const AddedToken& token) {
  for (const char* name : {"<|begin_of_text|>", "<s>", "<|startoftext|>", "<bos>"}) {
    if (token.content == name) bos_ = token.id;
  }
  for (const char* name : {"<|end_of_text|>", "</s>", "<|endoftext|>", "<eos>"}) {
    if (token.content == name && !eos_) eos_ = token.id;
  }
}

std::vector<TokenId> TextTokenizer::encode(std::string_view text, bool add_special) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = replace_invalid_utf8(text);
    text = repaired;
  }
  Encoding encoding{.out = {}, .cache = {}, .ids = {}};
  encoding.out.reserve(text.size() / 3 + 8);
  if (add_special) encoding.out = parts_.prefix;
  raw_.split(text, encoding.out, [&](std::string_view piece) {
    const bool starts_text = piece.data() == text.data();
    if (parts_.normalizer.empty()) {
      encode_normalized(piece, starts_text, encoding);
    } else {
      encode_normalized(parts_.normalizer.apply(piece), starts_text, encoding);
    }
  });
  if (add_special) encoding.out.insert(encoding.out.end(), parts_.suffix.begin(), parts_.suffix.end());
  return std::move(encoding.out);
}

std::string TextTokenizer::decode(std::span<const TokenId> ids) const {
  std::string text;
  bool first = true;  // no token of the vocabulary has been decoded yet
  for (const TokenId id : ids) {
    const std::string& spelled = token_text(id);
    if (static_cast<size_t>(id) < is_added_.size() && is_added_[static_cast<size_t>(id)]) {
      text += spelled;
    } else {
      parts_.decoder.append(text, spelled, first);
      first = false;
    }
  }
  return text;
}

const std::string& TextTokenizer::token_text(TokenId id) const {
  if (id < 0 || static_cast<size_t>(id) >= parts_.texts.size()) {
    fail(ErrorKind::kInvalidArgument, "token id {} is not in a vocabulary of {}", id, parts_.texts.size());
  }
  return parts_.texts[static_cast<size_t>(id)];
}

void TextTokenizer::encode_normalized(std::string_view text, bool starts_text, Encoding& encoding) const {
  const auto* bpe = std::get_if<Bpe>(&parts_.model);
  normalized_.split(text, encoding.out, [&](std::string_view piece) {
    parts_.pre_tokenizer.split(piece, starts_text && piece.data() == text.data(), [&](std::string_view word) {
      if (bpe != nullptr) {
        bpe->for_each_part(word, [&](std::string_view part) { encode_word(part, encoding); });
      } else {
        encode_word(word, encoding);
      }
    });
  });
}

void TextTokenizer::encode_word(std::string_view word, Encoding& encoding) const {
  constexpr size_t kMaxWord = 64;
  constexpr size_t kMaxEntries = 1 << 18;
  const auto it = word.size() <= kMaxWord ? encoding.cache.find(word) : encoding.cache.end();
  if (it != encoding.cache.end()) {
    const auto begin = encoding.ids.begin() + it->second.begin;
    encoding.out.insert(encoding.out.end(), begin, begin + it->second.size);
    return;
  }
  const size_t before = encoding.out.size();
  std::visit([&](const auto& model) { model.encode(word, encoding.out); }, parts_.model);
  if (word.size() > kMaxWord || encoding.cache.size() >= kMaxEntries) return;
  const auto begin = static_cast<uint32_t>(encoding.ids.size());
  encoding.ids.insert(encoding.ids.end(), encoding.out.begin() + static_cast<int64_t>(before),
                      encoding.out.end());
  encoding.cache.emplace(std::string(word), Run{begin, static_cast<uint32_t>(encoding.out.size() - before)});
}

}  // namespace freelunch::tokenizer
