#include "freelunch/checkpoint/files/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "freelunch/base/error.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const char* action, const fs::path& path) {
  fail(ErrorKind::kIo, "cannot {} '{}': {}", action, path.string(), system_error_text());
}

void write_all(int descriptor, std::string_view content, const fs::path& path) {
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = ::write(descriptor, content.data() + done, content.size() - done);
    if (n <= 0) {
      const std::string reason = system_error_text();
      ::close(descriptor);
      ::unlink(path.c_str());
      fail(ErrorKind::kIo, "cannot write '{}': {}", path.string(), reason);
    }
    done += static_cast<size_t>(n);
  }
}

}  // namespace

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path partial = path.string() + ".partial-" + std::to_string(::getpid());
  const int descriptor = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) refuse("create", partial);
  write_all(descriptor, content, partial);
  const bool flushed = ::fsync(descriptor) == 0;
  ::close(descriptor);
  if (!flushed) refuse("flush", partial);
  if (::rename(partial.c_str(), path.c_str()) != 0) refuse("rename into", path);
}

}  // namespace freelunch::checkpoint
