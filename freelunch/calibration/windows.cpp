#include "freelunch/calibration/windows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>

#include "freelunch/base/error.h"

namespace freelunch::calibration {
namespace {

std::vector<int64_t> tokens_of(const std::string& document, const tokenizer::Tokenizer& tokenizer) {
  const std::vector<tokenizer::TokenId> ids = tokenizer.encode(document, /*add_special=*/false);
  return {ids.begin(), ids.end()};
}

std::vector<int64_t> crops(const std::vector<std::string>& documents, const tokenizer::Tokenizer& tokenizer,
                           int64_t count, int64_t length, RandomStream& random) {
  std::vector<std::vector<int64_t>> tokens(documents.size());
  std::vector<size_t> usable(documents.size());
  for (size_t i = 0; i < usable.size(); ++i) usable[i] = i;
  std::vector<int64_t> result;
  while (static_cast<int64_t>(result.size()) < count * length) {
    if (usable.empty()) {
      fail(ErrorKind::kInvalidArgument, "no calibration document is longer than a window of {} tokens",
           length);
    }
    const size_t pick = random.below(usable.size());
    std::vector<int64_t>& document = tokens[usable[pick]];
    if (document.empty()) document = tokens_of(documents[usable[pick]], tokenizer);
    const auto size = static_cast<int64_t>(document.size());
    if (size <= length) {  // never drawn again
      usable[pick] = usable.back();
      usable.pop_back();
      continue;
    }
    const auto start = static_cast<int64_t>(random.below(static_cast<uint64_t>(size - length)));
    result.insert(result.end(), document.begin() + start, document.begin() + start + length);
  }
  return result;
}

std::vector<std::string> all_of(const Documents& documents) {
  std::vector<std::string> all;
  documents([&](std::string&& document) {
    all.push_back(std::move(document));
    return true;
  });
  return all;
}

std::optional<int64_t> first_token(const tokenizer::Tokenizer& tokenizer, WindowStart start) {
  if (start == WindowStart::kNever) return {};
  if (start == WindowStart::kTokenizer && !tokenizer.adds_bos()) return {};
  if (!tokenizer.bos()) fail(ErrorKind::kInvalidArgument, "the tokenizer has no beginning-of-text token");
  return *tokenizer.bos();
}

}  // namespace

Documents documents_of(const std::vector<std::string>& list) {
  return [&list](const text::Visit& visit) {
    for (const std::string& document : list) {
      if (!visit(std::string(document))) return;
    }
  };
}

std::vector<int64_t> joined_tokens(const Documents& documents, const tokenizer::Tokenizer& tokenizer,
                                   int64_t most, bool add_special) {
  std::vector<int64_t> tokens;
  documents([&](const std::string& document) {
    const auto ids = tokenizer.encode(document, add_special && tokens.empty());
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    return static_cast<int64_t>(tokens.size()) < most;
  });
  return tokens;
}

at::Tensor token_windows(const Documents& documents, const tokenizer::Tokenizer& tokenizer,
                         const WindowShape& shape, RandomStream& random) {
  const std::optional<int64_t> bos = first_token(tokenizer, shape.bos);
  const int64_t count = shape.count;
  const int64_t length = shape.length - (bos ? 1 : 0);  // of text
  const int64_t needed = count * length;
  const std::vector<int64_t> tokens = shape.rule == WindowRule::kConsecutive
                                          ? joined_tokens(documents, tokenizer, needed, /*add_special=*/false)
                                          : crops(all_of(documents), tokenizer, count, length, random);
  if (static_cast<int64_t>(tokens.size()) < needed) {
    fail(ErrorKind::kInvalidArgument,
         "the calibration text has {} tokens, but {} windows of {} need {}; lower `samples`, `held-out` or "
         "`length`",
         tokens.size(), count, length, needed);
  }
  const at::Tensor text =
      at::tensor(std::vector<int64_t>(tokens.begin(), tokens.begin() + needed)).view({count, length});
  return bos ? at::cat({at::full({count, 1}, *bos, text.options()), text}, 1) : text;
}

}  // namespace freelunch::calibration
