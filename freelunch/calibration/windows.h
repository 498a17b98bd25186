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
  kConsecutive,  ///< documents tokenised one by one, joined without separators, cut from the start
  kCrop          ///< a random crop of a random document longer than a window, as Wanda's code does
};
inline constexpr EnumNames<WindowRule, 2> kWindowRuleNames{
    {{WindowRule::kConsecutive, "consecutive"}, {WindowRule::kCrop, "crop"}}};

/// Tokens of all documents one after the other; no special tokens.
std::vector<int64_t> joined_tokens(const std::vector<std::string>& documents,
                                   const tokenizer::Tokenizer& tokenizer);

/// `count` windows of `length` tokens, (count, length) int64 on the CPU. Throws InvalidArgument saying how
/// many tokens or long documents there are and how many are needed.
at::Tensor token_windows(const std::vector<std::string>& documents, const tokenizer::Tokenizer& tokenizer,
                         WindowRule rule, int64_t count, int64_t length, RandomStream& random);

}  // namespace freelunch::calibration
