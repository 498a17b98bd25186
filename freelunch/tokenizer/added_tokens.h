#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/byte_trie.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// A token that is looked for in the text before anything else.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
  bool left_strip = false;   ///< takes the white space before it with it
  bool right_strip = false;  ///< and after it
  bool single_word = false;  ///< only where no word character touches it
  bool normalized = false;   ///< looked for in the normalised text instead of the raw one
};

/// Finds added tokens, leftmost first, the longest where several start at one place.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  struct Found {
    size_t begin, end;
    const AddedToken* token;
  };
  /// The next one at or after `from` in valid UTF-8; text before `from` is not stripped into.
  bool find(std::string_view text, size_t from, Found& found) const;

  /// Appends the ids of the tokens found to `out`, and calls visit(text) for what lies between, in order.
  template <typename Visit>
  void split(std::string_view text, std::vector<TokenId>& out, Visit&& visit) const {
    size_t at = 0;
    Found found{};
    while (!empty() && find(text, at, found)) {
      if (found.begin > at) visit(text.substr(at, found.begin - at));
      out.push_back(found.token->id);
      at = found.end;
    }
    if (at < text.size()) visit(text.substr(at));
  }

 private:
  std::vector<AddedToken> tokens_;
  ByteTrie trie_;  // of their contents, by place in tokens_
};

}  // namespace freelunch::tokenizer
