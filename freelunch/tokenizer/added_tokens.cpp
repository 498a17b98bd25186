#include "tokenizer/added_tokens.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "base/utf8.h"

namespace freelunch::tokenizer {
namespace {

bool is_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0; }
bool is_word(char32_t c) {
  return u_isalnum(static_cast<UChar32>(c)) != 0 || c == '_' ||
         (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_M_MASK | U_GC_PC_MASK)) != 0;
}

/// Start of the character that ends at `end`.
size_t character_before(std::string_view text, size_t end) {
  size_t i = end - 1;
  while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) --i;
  return i;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  for (size_t i = 0; i < tokens_.size(); ++i)
    by_first_byte_[static_cast<unsigned char>(tokens_[i].content[0])].push_back(i);
  for (auto& list : by_first_byte_) {
    std::stable_sort(list.begin(), list.end(), [&](size_t a, size_t b) {
      return tokens_[a].content.size() > tokens_[b].content.size();
    });
  }
}

bool AddedTokenFinder::find(std::string_view text, size_t from, Found& found) const {
  for (size_t i = from; i < text.size(); ++i) {
    for (const size_t index : by_first_byte_[static_cast<unsigned char>(text[i])]) {
      const AddedToken& token = tokens_[index];
      if (text.compare(i, token.content.size(), token.content) != 0) continue;
      size_t begin = i;
      size_t end = i + token.content.size();
      if (token.single_word) {
        const bool left = begin > 0 && is_word(code_point_at(text, character_before(text, begin)).value);
        const bool right = end < text.size() && is_word(code_point_at(text, end).value);
        if (left || right) continue;
      }
      while (token.left_strip && begin > from) {
        const size_t before = character_before(text, begin);
        if (before < from || !is_space(code_point_at(text, before).value)) break;
        begin = before;
      }
      while (token.right_strip && end < text.size()) {
        const CodePoint c = code_point_at(text, end);
        if (!is_space(c.value)) break;
        end += c.length;
      }
      found = {begin, end, &token};
      return true;
    }
  }
  return false;
}

}  // namespace freelunch::tokenizer
