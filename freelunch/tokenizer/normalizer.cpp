#include "freelunch/tokenizer/normalizer.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool is_space(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0; }

}  // namespace

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  out.reserve(text.size());
  size_t at = 0;
  for (size_t found = text.find(from); found != std::string_view::npos; found = text.find(from, at)) {
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
  }
  out += text.substr(at);
  return out;
}

Normalizer Normalizer::from_json(const json& entry, std::string_view file) {
  Normalizer result;
  result.file_ = file;
  result.add(entry, file);
  return result;
}

void Normalizer::add(const json& entry, std::string_view file) {
  if (entry.is_null()) return;
  const auto type = entry.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const json& part : entry.at("normalizers")) add(part, file);
  } else if (type == "NFC") {
    steps_.emplace_back(Form::kNfc);
  } else if (type == "NFD") {
    steps_.emplace_back(Form::kNfd);
  } else if (type == "NFKC") {
    steps_.emplace_back(Form::kNfkc);
  } else if (type == "NFKD") {
    steps_.emplace_back(Form::kNfkd);
  } else if (type == "Lowercase") {
    steps_.emplace_back(Lowercase{});
  } else if (type == "StripAccents") {
    steps_.emplace_back(StripAccents{});
  } else if (type == "Strip") {
    steps_.emplace_back(Strip{entry.value("strip_left", true), entry.value("strip_right", true)});
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{entry.at("prepend").get<std::string>()});
  } else if (type == "Replace") {
    Replace step{.content = entry.at("content").get<std::string>()};
    const json& pattern = entry.at("pattern");
    if (pattern.contains("Regex")) {
      step.regex.emplace(pattern["Regex"].get<std::string>(), file);
    } else {
      step.literal = pattern.at("String").get<std::string>();
      if (step.literal.empty())
        fail(ErrorKind::kBadFile, "{}: normalizer Replace searches for an empty text", file);
    }
    steps_.emplace_back(std::move(step));
  } else {
    fail(ErrorKind::kUnsupported, "{}: normalizer '{}' is not supported", file, type);
  }
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const Step& step : steps_) {
    out = std::visit([&](const auto& s) { return apply(s, out); }, step);
    // each replacement can double the length of a text
    if (out.size() > (size_t{1} << 24U) + 64 * text.size()) {
      fail(ErrorKind::kUnsupported, "{}: the normalizer makes more than {} bytes of {}", file_,
           out.size() - 1, text.size());
    }
  }
  return out;
}

std::string Normalizer::apply(Form form, std::string_view text) {
  if (is_ascii(text)) return std::string(text);
  if (text.size() > INT32_MAX) {
    fail(ErrorKind::kInvalidArgument, "text of {} bytes cannot be normalised, the limit is 2 GiB",
         text.size());
  }
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* normalizer = nullptr;
  switch (form) {
    case Form::kNfc:
      normalizer = icu::Normalizer2::getNFCInstance(status);
      break;
    case Form::kNfd:
      normalizer = icu::Normalizer2::getNFDInstance(status);
      break;
    case Form::kNfkc:
      normalizer = icu::Normalizer2::getNFKCInstance(status);
      break;
    case Form::kNfkd:
      normalizer = icu::Normalizer2::getNFKDInstance(status);
      break;
  }
  std::string out;
  if (U_SUCCESS(status) != 0) {
    icu::StringByteSink<std::string> sink(&out);
    normalizer->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink,
                              nullptr, status);
  }
  if (U_FAILURE(status) != 0) {
    fail(ErrorKind::kInvalidArgument, "text of {} bytes cannot be normalised: {}", text.size(),
         u_errorName(status));
  }
  return out;
}

std::string Normalizer::apply(const Lowercase& /*step*/, std::string_view text) {
  // Character by character, without context, so a final sigma becomes an ordinary one. Only U+0130 becomes
  // two characters.
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if (c.value == 0x130) {
      out += "i\xCC\x87";
    } else {
      append_utf8(out, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c.value))));
    }
    i += c.length;
  }
  return out;
}

std::string Normalizer::apply(const StripAccents& /*step*/, std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text, i);
    if ((U_GET_GC_MASK(static_cast<UChar32>(c.value)) & U_GC_M_MASK) == 0) out += text.substr(i, c.length);
    i += c.length;
  }
  return out;
}

std::string Normalizer::apply(const Strip& step, std::string_view text) {
  if (step.left) {
    while (!text.empty()) {
      const CodePoint c = code_point_at(text, 0);
      if (!is_space(c.value)) break;
      text.remove_prefix(c.length);
    }
  }
  while (step.right && !text.empty()) {
    const size_t last = last_code_point(text, text.size());
    if (!is_space(code_point_at(text, last).value)) break;
    text = text.substr(0, last);
  }
  return std::string(text);
}

std::string Normalizer::apply(const Prepend& step, std::string_view text) {
  return text.empty() ? std::string() : step.text + std::string(text);
}

std::string Normalizer::apply(const Replace& step, std::string_view text) {
  if (!step.regex) return replace_all(text, step.literal, step.content);
  std::string out;
  size_t at = 0;
  Regex::Match found{};
  for (size_t from = 0; from <= text.size() && step.regex->find(text, from, found);) {
    if (found.end == found.begin) {  // an empty match replaces nothing
      from = found.end + 1;
      while (from < text.size() && (static_cast<unsigned char>(text[from]) & 0xC0U) == 0x80U) ++from;
      continue;
    }
    out += text.substr(at, found.begin - at);
    out += step.content;
    at = from = found.end;
  }
  out += text.substr(at);
  return out;
}

}  // namespace freelunch::tokenizer
