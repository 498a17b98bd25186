#pragma once
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "freelunch/base/error.h"

namespace freelunch::fuzz {

/// Ends the process, which libFuzzer keeps as a finding, unless what a parser promises holds.
inline void require(bool holds, const char* promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

/// What every parser promises: it takes the input, or throws Error with one line that names the file. Any
/// other exception escapes and is a finding.
template <typename Parse>
int try_to_parse(std::string_view file, Parse parse) {
  try {
    parse();
  } catch (const Error& error) {
    const std::string_view message = error.what();
    require(message.find(file) != std::string_view::npos, "an error names the file");
    require(message.find('\n') == std::string_view::npos, "an error is one line");
    require(error.kind() == ErrorKind::kBadFile || error.kind() == ErrorKind::kUnsupported,
            "what a file holds is BadFile or Unsupported");
  }
  return 0;
}

inline std::span<const std::byte> bytes_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}
inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A file that parsers which take a path are given; one for the process, of this name.
inline std::filesystem::path write_file(const std::string& name, const uint8_t* data, size_t size) {
  static const std::filesystem::path kFolder = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "freelunch-fuzz-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "a temporary folder can be made");
    static const std::filesystem::path folder = pattern;
    std::atexit([] { std::filesystem::remove_all(folder); });
    return folder;
  }();
  std::FILE* file = std::fopen((kFolder / name).c_str(), "wb");
  require(file != nullptr && std::fwrite(data, 1, size, file) == size && std::fclose(file) == 0,
          "a temporary file can be written");
  return kFolder / name;
}

}  // namespace freelunch::fuzz
