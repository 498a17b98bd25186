#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/tokenizer/tokenizer.h"

namespace freelunch::tokenizer {

/// The fields of a SentencePiece .model file (a protocol buffer ModelProto) that are needed here. The
/// SentencePiece library does not report them, and it does not check the files that it loads.
struct SentencePieceModel {
  enum class Type { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  enum class Algorithm { kUnigram = 1, kBpe = 2, kWord = 3, kCharacter = 4 };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };
  std::vector<Piece> pieces;  ///< by id
  Algorithm algorithm = Algorithm::kUnigram;
  int64_t bos = 1, eos = 2;  ///< -1: none
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool whitespace_as_suffix = false;
  std::string charsmap;  ///< character normalisation, compiled; may be empty

  /// Throws BadFile naming `file` for bytes that are cut off or malformed; for pieces that are empty,
  /// repeated or not UTF-8; for scores that are not finite; for ids without a piece; and for a charsmap that
  /// leads out of its table.
  static SentencePieceModel parse(std::string_view bytes, std::string_view file);

  /// The bytes with another add_dummy_prefix, for the library. The trainer's self-test is removed: its
  /// expected results would no longer be right.
  static std::string with_dummy_prefix(std::string_view bytes, bool add_dummy_prefix, std::string_view file);
};

}  // namespace freelunch::tokenizer
