#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace freelunch {

/// Computes the SHA-256 digest (FIPS 180-4) of data that arrives in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void add(const void* data, size_t bytes);
  /// The digest, 64 lower-case hexadecimal digits. Call it once; nothing may be added afterwards.
  std::string hex();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// The digest of a string.
std::string sha256(std::string_view bytes);
/// The digest of a file, as `sha256sum` prints it. Throws Io if the file cannot be read, Interrupted on
/// request.
std::string sha256_of_file(const std::filesystem::path& path);

}  // namespace freelunch
