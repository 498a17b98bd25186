#include "freelunch/base/digest.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"

namespace freelunch {

struct Sha256::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  ~Context() { EVP_MD_CTX_free(evp); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (context_->evp == nullptr || EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr) != 1)
    fail(ErrorKind::kUnsupported, "OpenSSL offers no SHA-256");
}

Sha256::~Sha256() = default;

void Sha256::add(const void* data, size_t bytes) { EVP_DigestUpdate(context_->evp, data, bytes); }

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int bytes = 0;
  EVP_DigestFinal_ex(context_->evp, digest.data(), &bytes);
  std::string text;
  for (unsigned int i = 0; i < bytes; ++i) text += fmt::format("{:02x}", digest.at(i));
  return text;
}

std::string sha256(std::string_view bytes) {
  Sha256 digest;
  digest.add(bytes.data(), bytes.size());
  return digest.hex();
}

std::string sha256_of_file(const std::filesystem::path& path) {
  constexpr size_t kPiece = 1U << 20U;
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(ErrorKind::kIo, "cannot open '{}': {}", path.string(), system_error_text());
  Sha256 digest;
  std::vector<char> piece(kPiece);
  try {
    while (true) {
      throw_if_interrupted();
      const ssize_t n = ::read(descriptor, piece.data(), piece.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(ErrorKind::kIo, "cannot read '{}': {}", path.string(), system_error_text());
      if (n == 0) break;
      digest.add(piece.data(), static_cast<size_t>(n));
    }
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
  return digest.hex();
}

}  // namespace freelunch
