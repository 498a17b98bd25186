#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

#include "freelunch/text/unpack.h"

namespace freelunch::text {

/// The characters of a text file as UTF-8, read part by part in bounded memory. What the file is follows from
/// its bytes: it may be compressed (open_unpacked), UTF-8 or UTF-16 with a byte-order mark, which is left
/// out, or UTF-8 without one. CRLF and CR become LF, as in Python's text mode (docs/formats/texts.md).
///
/// Opening and every read throw BadFile for what is not text, with its offset in the unpacked file: bytes
/// that are not UTF-8 or not UTF-16, NUL; and Unsupported for known other kinds of files, such as Parquet.
class TextStream {
 public:
  explicit TextStream(const std::filesystem::path& path);

  /// The next line with its LF, which the last one may lack. False at the end.
  bool line(std::string& out);
  /// The next byte, or -1 at the end.
  int get();
  /// All that is left.
  std::string rest();
  /// Puts text back, to be read next.
  void unread(std::string_view text);

  /// The file's name, for messages.
  const std::string& name() const { return name_; }

 private:
  enum class Encoding { kUtf8, kUtf16Little, kUtf16Big };
  void detect();
  bool fill();  // false at the end
  void decode(bool last);
  size_t decode_utf8(bool last);
  size_t decode_utf16(bool last);
  void take(std::string_view utf8);
  [[noreturn]] void refuse(size_t at, std::string_view what) const;

  std::string name_;
  std::unique_ptr<ByteStream> bytes_;
  Encoding encoding_ = Encoding::kUtf8;
  std::string raw_;        // read and not yet decoded
  uint64_t offset_ = 0;    // of raw_ in the unpacked file
  std::string text_;       // decoded
  size_t begin_ = 0;       // of what is not yet taken from text_
  bool after_cr_ = false;  // the last character was CR, so that LF adds nothing
  bool ended_ = false;
};

}  // namespace freelunch::text
