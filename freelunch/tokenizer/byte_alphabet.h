#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace freelunch::tokenizer {

/// The alphabet of GPT-2: each byte as one printable character (Radford et al. 2019, bytes_to_unicode).
/// Printable Latin-1 characters stand for themselves; the other 68 bytes are U+0100 and up, in order.
const std::array<std::string, 256>& byte_alphabet();

/// The raw bytes of a token that is spelled in the alphabet. Empty if a character is not in the alphabet.
std::optional<std::string> bytes_of_token(std::string_view spelled);

/// The byte of a SentencePiece byte token, spelled <0x00> to <0xFF>. Empty for other tokens.
std::optional<uint8_t> byte_of_token(std::string_view spelled);

}  // namespace freelunch::tokenizer
