#include "freelunch/tokenizer/wrapped_tokenizer.h"

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"

namespace freelunch::tokenizer {

std::vector<TokenId> BoundedTokenizer::encode(std::string_view text, bool add_special) const {
  std::vector<TokenId> ids = inner_->encode(text, add_special);
  for (const TokenId id : ids) {
    if (id < rows_) continue;
    fail(ErrorKind::kBadFile, "a text holds the token '{}' with id {}, but the model's embedding has {} rows",
         printable(inner_->token_text(id)), id, rows_);
  }
  return ids;
}

}  // namespace freelunch::tokenizer
