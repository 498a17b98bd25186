#pragma once
#include <string_view>

namespace freelunch::tokenizer {

/// Whether SentencePiece can walk a precompiled_charsmap without leaving it: a double array of 32-bit units
/// (Darts-clone), preceded by its size in bytes, and the replacement texts it points into, each ended by a
/// zero byte. No path may be longer than what SentencePiece has room for.
bool is_sound_charsmap(std::string_view charsmap);

}  // namespace freelunch::tokenizer
