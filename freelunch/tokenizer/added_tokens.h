#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/byte_trie.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// A token that is searched for in the text before the text is tokenised.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
  bool left_strip = false;   ///< includes the white space before it
  bool right_strip = false;  ///< includes the white space after it
  bool single_word = false;  ///< matches only if no word character is next to it
  bool normalized = false;   ///< searched for in the normalised text, not in the raw text
};

/// Finds added tokens, leftmost first. If several start at one position, it finds the longest.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  struct Found {
    size_t begin, end;
    const AddedToken* token;
  };
  /// Finds the next token at or after `from` in valid UTF-8. Stripping does not go before `from`. Returns
  /// false if there is none.
  bool find(std::string_view text, size_t from, Found& found) const;

  /// Appends the ids of the tokens found to `out` and calls visit(text) for the text between them, in order.
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
  ByteTrie trie_;  // of the contents; ids are indices into tokens_
};

}  // namespace freelunch::tokenizer
