#pragma once
#include <string_view>

namespace freelunch::tokenizer {

/// Whether SentencePiece can read a precompiled_charsmap without leaving its bounds. A charsmap is a double
/// array of 32-bit units (Darts-clone), preceded by its size in bytes, and then the replacement texts that it
/// points to, each ended by a zero byte. A path may not have more matches than SentencePiece can store.
bool is_sound_charsmap(std::string_view charsmap);

}  // namespace freelunch::tokenizer
