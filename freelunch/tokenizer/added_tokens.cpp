#include "freelunch/tokenizer/added_tokens.h"

#include <unicode/uchar.h>

#include "freelunch/base/utf8.h"

namespace freelunch::tokenizer {
namespace {

bool is_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0; }
bool is_word(char32_t c) {
  return u_isalnum(static_cast<UChar32>(c)) != 0 || c == '_' ||
         (U_GET_GC_MASK(static_cast<UChar32>(c)) & (U_GC_M_MASK | U_GC_PC_MASK)) != 0;
}

std::vector<std::string_view> contents(const std::vector<AddedToken>& tokens) {
  std::vector<std::string_view> result;
  result.reserve(tokens.size());
  for (const AddedToken& token : tokens) result.push_back(token.content);
  return result;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)), trie_(contents(tokens_)) {}

bool AddedTokenFinder::find(std::string_view text, size_t from, Found& found) const {
  for (size_t i = from; i < text.size(); ++i) {
    size_t size = 0;  // of the longest token that starts here
    TokenId place = -1;
    trie_.for_each_prefix(text.substr(i), [&](size_t length, TokenId index) {
      size = length;
      place = index;
    });
    if (size == 0) continue;
    const AddedToken& token = tokens_[static_cast<size_t>(place)];
    size_t begin = i;
    size_t end = i + size;
    if (token.single_word) {
      const bool left = begin > 0 && is_word(code_point_at(text, last_code_point(text, begin)).value);
      const bool right = end < text.size() && is_word(code_point_at(text, end).value);
      if (left || right) {  // go on after the whole token
        i = end - 1;
        continue;
      }
    }
    while (token.left_strip && begin > from) {
      const size_t before = last_code_point(text, begin);
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
  return false;
}

}  // namespace freelunch::tokenizer
