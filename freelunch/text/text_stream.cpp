#include "freelunch/text/text_stream.h"

#include <algorithm>
#include <array>

#include "freelunch/base/error.h"
#include "freelunch/base/utf8.h"
#include "freelunch/text/file_kind.h"

namespace freelunch::text {
namespace {

constexpr size_t kPart = size_t{1} << 16U;
constexpr size_t kHead = 512;  // enough to tell every kind of file

}  // namespace

TextStream::TextStream(const std::filesystem::path& path)
    : name_(path.filename().string()), bytes_(open_unpacked(path)) {
  while (raw_.size() < kHead && !ended_) {
    std::array<char, kPart> part{};
    const size_t n = bytes_->read(part);
    raw_.append(part.data(), n);
    ended_ = n == 0;
  }
  detect();
  decode(ended_);
}

void TextStream::detect() {
  if (const std::string_view kind = other_file_kind(raw_); !kind.empty())
    fail(ErrorKind::kUnsupported, "{}: this is {}", name_, kind);
  const auto skip = [&](size_t mark, Encoding encoding) {
    raw_.erase(0, mark);
    offset_ = mark;
    encoding_ = encoding;
  };
  if (raw_.starts_with("\xEF\xBB\xBF")) skip(3, Encoding::kUtf8);
  if (raw_.starts_with("\xFF\xFE")) skip(2, Encoding::kUtf16Little);
  if (raw_.starts_with("\xFE\xFF")) skip(2, Encoding::kUtf16Big);
}

void TextStream::refuse(size_t at, std::string_view what) const {
  fail(ErrorKind::kBadFile, "{}: offset {}: {}", name_, offset_ + at, what);
}

bool TextStream::fill() {
  while (begin_ == text_.size() && !ended_) {
    text_.clear();
    begin_ = 0;
    std::array<char, kPart> part;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled by read()
    const size_t n = bytes_->read(part);
    raw_.append(part.data(), n);
    ended_ = n == 0;
    decode(ended_);
  }
  return begin_ < text_.size();
}

void TextStream::decode(bool last) {
  const size_t done = encoding_ == Encoding::kUtf8 ? decode_utf8(last) : decode_utf16(last);
  raw_.erase(0, done);
  offset_ += done;
}

size_t TextStream::decode_utf8(bool last) {
  const size_t valid = valid_utf8_prefix(raw_);
  const size_t nul = raw_.find('\0');
  if (nul < valid) {
    // every other byte of ASCII in UTF-16
    const bool wide =
        nul > 0 ? nul + 2 < raw_.size() && raw_[nul + 2] == '\0' : raw_.size() > 2 && raw_[2] == '\0';
    refuse(nul, wide ? "a NUL byte; this looks like UTF-16 without a byte-order mark, convert it to UTF-8"
                     : "a NUL byte; this is binary data, expected text");
  }
  // a character of up to four bytes may continue in the next part
  if (valid < raw_.size() && (last || raw_.size() - valid >= 4))
    refuse(valid, fmt::format("byte 0x{:02X} is not valid UTF-8; convert the file to UTF-8, for example with "
                              "iconv -f latin1 -t utf8",
                              static_cast<unsigned char>(raw_[valid])));
  take(std::string_view(raw_).substr(0, valid));
  return valid;
}

size_t TextStream::decode_utf16(bool last) {
  const auto unit = [&](size_t i) {
    const auto first = static_cast<unsigned char>(raw_[i]);
    const auto second = static_cast<unsigned char>(raw_[i + 1]);
    return static_cast<char32_t>(encoding_ == Encoding::kUtf16Little ? first | (second << 8U)
                                                                     : (first << 8U) | second);
  };
  std::string utf8;
  size_t i = 0;
  while (i + 2 <= raw_.size()) {
    char32_t c = unit(i);
    size_t length = 2;
    if (c >= 0xD800 && c < 0xDC00) {
      if (i + 4 > raw_.size()) break;
      const char32_t low = unit(i + 2);
      if (low < 0xDC00 || low > 0xDFFF) refuse(i, "half of a surrogate pair, which is not valid UTF-16");
      c = 0x10000 + ((c - 0xD800) << 10U) + (low - 0xDC00);
      length = 4;
    } else if (c >= 0xDC00 && c <= 0xDFFF) {
      refuse(i, "half of a surrogate pair, which is not valid UTF-16");
    }
    if (c == 0) refuse(i, "a NUL character; this is binary data, expected text");
    append_utf8(utf8, c);
    i += length;
  }
  if (last && i < raw_.size()) refuse(i, "the last character of the UTF-16 text is cut off");
  take(utf8);
  return i;
}

void TextStream::take(std::string_view utf8) {
  if (after_cr_ && utf8.starts_with('\n')) utf8.remove_prefix(1);
  if (!utf8.empty()) after_cr_ = false;
  while (!utf8.empty()) {
    const size_t cr = utf8.find('\r');
    text_ += utf8.substr(0, cr);
    if (cr == std::string_view::npos) return;
    text_ += '\n';
    utf8.remove_prefix(cr + 1);
    after_cr_ = utf8.empty();
    if (utf8.starts_with('\n')) utf8.remove_prefix(1);
  }
}

bool TextStream::line(std::string& out) {
  out.clear();
  while (fill()) {
    const size_t newline = text_.find('\n', begin_);
    const size_t end = newline == std::string::npos ? text_.size() : newline + 1;
    out.append(text_, begin_, end - begin_);
    begin_ = end;
    if (newline != std::string::npos) return true;
  }
  return !out.empty();
}

int TextStream::get() { return fill() ? static_cast<unsigned char>(text_[begin_++]) : -1; }

std::string TextStream::rest() {
  std::string all;
  while (fill()) {
    all.append(text_, begin_);
    begin_ = text_.size();
  }
  return all;
}

void TextStream::unread(std::string_view text) {
  text_.replace(0, begin_, text);
  begin_ = 0;
}

}  // namespace freelunch::text
