#pragma once
#include <ATen/core/TensorBody.h>

#include <string>
#include <string_view>
#include <vector>

#include "freelunch/base/enum_names.h"
#include "freelunch/base/random.h"
#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::calibration {

/// How windows are taken from documents.
enum class WindowRule {
  kConsecutive,  ///< documents are tokenised one by one, joined without separators, and cut from the start
  kCrop          ///< each window is a random crop of a random document longer than it, as in Wanda's code
};
inline constexpr EnumNames<WindowRule, 2> kWindowRuleNames{
    {{WindowRule::kConsecutive, "consecutive"}, {WindowRule::kCrop, "crop"}}};

/// The tokens of all documents, one after the other, without special tokens.
std::vector<int64_t> joined_tokens(const std::vector<std::string>& documents,
                                   const tokenizer::Tokenizer& tokenizer);

/// Takes `count` windows of `length` tokens: (count, length) int64 on the CPU. Throws InvalidArgument, with
/// the numbers, if the documents have too few tokens or if none is longer than a window.
at::Tensor token_windows(const std::vector<std::string>& documents, const tokenizer::Tokenizer& tokenizer,
                         WindowRule rule, int64_t count, int64_t length, RandomStream& random);

}  // namespace freelunch::calibration
