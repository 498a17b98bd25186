#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace freelunch::tokenizer {

/// GPT-2's alphabet: every byte as one printable character (Radford et al. 2019, bytes_to_unicode). Printable
/// Latin-1 stands for itself, the other 68 bytes for U+0100 and up, in order.
const std::array<std::string, 256>& byte_alphabet();

/// A token spelled in the alphabet as raw bytes; empty optional if a character is not of the alphabet.
std::optional<std::string> bytes_of_token(std::string_view spelled);

/// The byte that a SentencePiece byte token, spelled <0x00> to <0xFF>, stands for.
std::optional<uint8_t> byte_of_token(std::string_view spelled);

}  // namespace freelunch::tokenizer
