#include "freelunch/text/unpack.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <string>
#include <string_view>

#include "freelunch/base/error.h"

namespace freelunch::text {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPart = size_t{1} << 16U;
constexpr uint64_t kMemory = uint64_t{256} << 20U;  // of a decompressor

/// Takes the front of `in` and unpacks it into the front of `out`.
class Unpacker {
 public:
  virtual ~Unpacker() = default;
  /// The bytes written; `in` loses what was read. Throws Error without the name of the file.
  virtual size_t unpack(std::string_view& in, bool last, std::span<char> out) = 0;
  /// Whether the input may end here.
  virtual bool is_complete() const = 0;
};

class Plain final : public Unpacker {
 public:
  size_t unpack(std::string_view& in, bool, std::span<char> out) override {
    const size_t n = in.copy(out.data(), out.size());
    in.remove_prefix(n);
    return n;
  }
  bool is_complete() const override { return true; }
};

/// What zlib and bzip2 have in common: a stream ends before the next one starts.
template <typename Stream>
size_t set_buffers(Stream& stream, std::string_view in, std::span<char> out) {
  stream.next_in = reinterpret_cast<decltype(stream.next_in)>(const_cast<char*>(in.data()));
  stream.avail_in = static_cast<unsigned>(in.size());
  stream.next_out = reinterpret_cast<decltype(stream.next_out)>(out.data());
  stream.avail_out = static_cast<unsigned>(out.size());
  return in.size();
}

class Gzip final : public Unpacker {
 public:
  Gzip() {
    if (inflateInit2(&stream_, 15 + 16) != Z_OK) throw std::bad_alloc();
  }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;
  ~Gzip() override { inflateEnd(&stream_); }
  size_t unpack(std::string_view& in, bool, std::span<char> out) override {
    if (between_) {  // zeros between members are padding, as Python and gzip take them
      in.remove_prefix(std::min(in.find_first_not_of('\0'), in.size()));
      if (in.empty()) return 0;
      inflateReset(&stream_);
      between_ = false;
    }
    const size_t before = set_buffers(stream_, in, out);
    const int result = inflate(&stream_, Z_NO_FLUSH);
    in.remove_prefix(before - stream_.avail_in);
    if (result == Z_STREAM_END)
      between_ = true;
    else if (result != Z_OK && result != Z_BUF_ERROR)
      fail(ErrorKind::kBadFile, "a broken gzip file ({})",
           stream_.msg == nullptr ? "no dictionary" : stream_.msg);
    return out.size() - stream_.avail_out;
  }
  bool is_complete() const override { return between_; }

 private:
  z_stream stream_{};
  bool between_ = false;
};

class Bzip2 final : public Unpacker {
 public:
  Bzip2() { start(); }
  Bzip2(const Bzip2&) = delete;
  Bzip2& operator=(const Bzip2&) = delete;
  ~Bzip2() override { BZ2_bzDecompressEnd(&stream_); }
  size_t unpack(std::string_view& in, bool, std::span<char> out) override {
    if (between_) {
      if (in.empty()) return 0;
      BZ2_bzDecompressEnd(&stream_);
      start();
    }
    const size_t before = set_buffers(stream_, in, out);
    const int result = BZ2_bzDecompress(&stream_);
    in.remove_prefix(before - stream_.avail_in);
    if (result == BZ_STREAM_END)
      between_ = true;
    else if (result != BZ_OK)
      fail(ErrorKind::kBadFile, "a broken bzip2 file (code {})", result);
    return out.size() - stream_.avail_out;
  }
  bool is_complete() const override { return between_; }

 private:
  void start() {
    stream_ = {};
    between_ = false;
    if (BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) throw std::bad_alloc();
  }
  bz_stream stream_{};
  bool between_ = false;
};

class Xz final : public Unpacker {
 public:
  Xz() {
    if (lzma_stream_decoder(&stream_, kMemory, LZMA_CONCATENATED) != LZMA_OK) throw std::bad_alloc();
  }
  Xz(const Xz&) = delete;
  Xz& operator=(const Xz&) = delete;
  ~Xz() override { lzma_end(&stream_); }
  size_t unpack(std::string_view& in, bool last, std::span<char> out) override {
    const size_t before = set_buffers(stream_, in, out);
    const lzma_ret result = lzma_code(&stream_, last ? LZMA_FINISH : LZMA_RUN);
    in.remove_prefix(before - stream_.avail_in);
    complete_ = result == LZMA_STREAM_END;
    if (result == LZMA_MEMLIMIT_ERROR)
      fail(ErrorKind::kUnsupported, "xz: its dictionary needs more than {} MiB of memory; unpack it first",
           kMemory >> 20U);
    if (result != LZMA_OK && result != LZMA_STREAM_END && result != LZMA_BUF_ERROR)
      fail(ErrorKind::kBadFile, "a broken xz file (code {})", static_cast<int>(result));
    return out.size() - stream_.avail_out;
  }
  bool is_complete() const override { return complete_; }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool complete_ = false;
};

class Zstd final : public Unpacker {
 public:
  Zstd() : stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {
    if (stream_ == nullptr) throw std::bad_alloc();
  }
  size_t unpack(std::string_view& in, bool, std::span<char> out) override {
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    const size_t result = ZSTD_decompressStream(stream_.get(), &to, &from);
    in.remove_prefix(from.pos);
    if (ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge)
      fail(ErrorKind::kUnsupported, "zstd: its window needs more than 128 MiB of memory; unpack it first");
    if (ZSTD_isError(result) != 0)
      fail(ErrorKind::kBadFile, "a broken zstd file ({})", ZSTD_getErrorName(result));
    if (from.pos > 0 || to.pos > 0) complete_ = result == 0;
    return to.pos;
  }
  bool is_complete() const override { return complete_; }

 private:
  std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream_;
  bool complete_ = false;
};

bool is_bzip2(std::string_view head) {
  if (head.size() < 10 || !head.starts_with("BZh") || head[3] < '1' || head[3] > '9') return false;
  const std::string_view first = head.substr(4, 6);  // a block, or the end of an empty file
  return first == "\x31\x41\x59\x26\x53\x59" || first == "\x17\x72\x45\x38\x50\x90";
}

bool is_zstd(std::string_view head) {
  if (head.size() < 4) return false;
  return head.starts_with("\x28\xB5\x2F\xFD") ||
         (head.substr(1, 3) == "\x2A\x4D\x18" && (static_cast<unsigned char>(head[0]) & 0xF0U) == 0x50U);
}

std::unique_ptr<Unpacker> unpacker_of(std::string_view head) {
  if (head.starts_with("\x1F\x8B")) return std::make_unique<Gzip>();
  if (is_bzip2(head)) return std::make_unique<Bzip2>();
  if (is_zstd(head)) return std::make_unique<Zstd>();
  using std::literals::operator""sv;
  if (head.starts_with("\xFD\x37zXZ\0"sv)) return std::make_unique<Xz>();
  return std::make_unique<Plain>();
}

class UnpackedFile final : public ByteStream {
 public:
  explicit UnpackedFile(const fs::path& path)
      : name_(path.filename().string()), file_(path, std::ios::binary), buffer_(kPart, '\0') {
    if (!file_) fail(ErrorKind::kIo, "cannot open text '{}': {}", path.string(), system_error_text());
    refill();
    unpacker_ = unpacker_of(in_);
  }

  size_t read(std::span<char> out) override {
    while (true) {
      if (in_.empty() && !ended_) refill();
      const size_t waiting = in_.size();
      const size_t n = unpack(out);
      if (n > 0) return n;
      if (in_.empty() && ended_) {
        if (!unpacker_->is_complete())
          fail(ErrorKind::kBadFile, "{}: the compressed file is truncated; an incomplete download?", name_);
        return 0;
      }
      if (!in_.empty() && in_.size() == waiting)
        fail(ErrorKind::kBadFile, "{}: the compressed file is broken", name_);
    }
  }

 private:
  size_t unpack(std::span<char> out) {
    try {
      return unpacker_->unpack(in_, ended_, out);
    } catch (const Error& error) {
      fail(error.kind(), "{}: {}", name_, error.what());
    }
  }

  void refill() {
    file_.read(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    in_ = std::string_view(buffer_).substr(0, static_cast<size_t>(file_.gcount()));
    ended_ = !file_;
    if (file_.bad()) fail(ErrorKind::kIo, "cannot read text '{}': {}", name_, system_error_text());
  }

  std::string name_;
  std::ifstream file_;
  std::string buffer_;
  std::string_view in_;
  bool ended_ = false;
  std::unique_ptr<Unpacker> unpacker_;
};

}  // namespace

std::unique_ptr<ByteStream> open_unpacked(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) fail(ErrorKind::kBadFile, "text '{}' does not exist", path.string());
  if (fs::is_directory(status))
    fail(ErrorKind::kBadFile, "text '{}' is a folder, expected a file", path.string());
  return std::make_unique<UnpackedFile>(path);
}

}  // namespace freelunch::text
