#include "freelunch/tokenizer/decoder.h"

#include <nlohmann/json.hpp>

#include "freelunch/tokenizer/byte_alphabet.h"
#include "freelunch/tokenizer/normalizer.h"

namespace freelunch::tokenizer {

using nlohmann::json;

Decoder Decoder::byte_level() {
  Decoder result;
  result.byte_level_ = true;
  return result;
}

Decoder Decoder::sentencepiece(bool prefix) {
  Decoder result;
  result.byte_fallback_ = true;
  result.replacements_.emplace_back("\u2581", " ");
  result.stripped_ = " ";
  result.stripped_times_ = prefix ? 1 : 0;
  return result;
}

Decoder Decoder::from_json(const json& entry) {
  Decoder result;
  result.add(entry);
  return result;
}

void Decoder::add(const json& entry) {
  if (!entry.is_object()) return;
  const auto type = entry.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const json& part : entry.at("decoders")) add(part);
  } else if (type == "ByteLevel") {
    byte_level_ = true;
  } else if (type == "ByteFallback") {
    byte_fallback_ = true;
  } else if (type == "Metaspace") {
    replacements_.emplace_back(entry.value("replacement", std::string("\u2581")), " ");
    stripped_ = " ";
    stripped_times_ = entry.value("prepend_scheme", std::string("always")) == "never" ? 0 : 1;
  } else if (type == "Replace" && entry.at("pattern").contains("String")) {
    replacements_.emplace_back(entry["pattern"]["String"].get<std::string>(),
                               entry.at("content").get<std::string>());
  } else if (type == "Strip") {
    stripped_ = entry.at("content").get<std::string>();
    stripped_times_ = entry.value("start", size_t{0});
  }
}

void Decoder::append(std::string& text, std::string_view token, bool first) const {
  if (byte_level_) {
    text += bytes_of_token(token).value_or(std::string(token));
    return;
  }
  if (const auto byte = byte_of_token(token); byte_fallback_ && byte) {
    text += static_cast<char>(*byte);
    return;
  }
  std::string spelled(token);
  for (const auto& [from, to] : replacements_) {
    if (!from.empty()) spelled = replace_all(spelled, from, to);
  }
  std::string_view rest = spelled;
  for (size_t i = 0; first && i < stripped_times_ && !stripped_.empty() && rest.starts_with(stripped_); ++i)
    rest.remove_prefix(stripped_.size());
  text += rest;
}

}  // namespace freelunch::tokenizer
