#pragma once
#include <ATen/core/TensorBody.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/base/enum_names.h"
#include "freelunch/base/random.h"
#include "freelunch/text/documents.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::calibration {

/// How windows are taken from documents.
enum class WindowRule {
  kConsecutive,  ///< documents are tokenised one by one, joined without separators, and cut from the start
  kCrop          ///< each window is a random crop of a random document longer than it, as in Wanda's code
};
inline constexpr EnumNames<WindowRule, 2> kWindowRuleNames{
    {{WindowRule::kConsecutive, "consecutive"}, {WindowRule::kCrop, "crop"}}};

/// Whether a window starts with the beginning-of-text token (BOS), which then takes the place of one token of
/// text.
enum class WindowStart {
  kTokenizer,  ///< if the tokenizer puts one in front of a text
  kAlways,
  kNever
};
inline constexpr EnumNames<WindowStart, 3> kWindowStartNames{{{WindowStart::kTokenizer, "tokenizer"},
                                                              {WindowStart::kAlways, "always"},
                                                              {WindowStart::kNever, "never"}}};

struct WindowShape {
  WindowRule rule = WindowRule::kConsecutive;
  WindowStart bos = WindowStart::kTokenizer;
  int64_t count = 0;
  int64_t length = 0;  ///< tokens, BOS included
};

/// Gives one document after the other, as long as they are wanted: text::for_each_document of a file.
using Documents = std::function<void(const text::Visit&)>;
/// The documents of a list, which must outlive the result.
Documents documents_of(const std::vector<std::string>& list);

/// The first `most` tokens of the documents, one after the other, and what else the last of these documents
/// has; no more documents are read. With `add_special`, the first document gets the special tokens that the
/// tokenizer adds to a text.
std::vector<int64_t> joined_tokens(const Documents& documents, const tokenizer::Tokenizer& tokenizer,
                                   int64_t most, bool add_special);

/// Takes windows of tokens: (count, length) int64 on the CPU. WindowRule::kCrop holds all documents. Throws
/// InvalidArgument, with the numbers, if the documents have too few tokens or if none is longer than a
/// window, and if BOS is wanted but the tokenizer has none.
at::Tensor token_windows(const Documents& documents, const tokenizer::Tokenizer& tokenizer,
                         const WindowShape& shape, RandomStream& random);

}  // namespace freelunch::calibration
