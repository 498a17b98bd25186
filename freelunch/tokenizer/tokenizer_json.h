#pragma once
#include <memory>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// A byte-level BPE tokenizer from the text of a tokenizer.json; `file` names it in errors. Throws BadFile
/// for JSON that is broken or inconsistent, Unsupported naming the first part that this version does not
/// handle.
std::unique_ptr<Tokenizer> from_tokenizer_json(std::string_view json, std::string_view file);

}  // namespace freelunch::tokenizer
