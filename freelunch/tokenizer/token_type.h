#pragma once
#include <cstdint>

namespace freelunch::tokenizer {

/// The values of tokenizer.ggml.token_type; the numbers are those of SentencePiece.
enum TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

}  // namespace freelunch::tokenizer
