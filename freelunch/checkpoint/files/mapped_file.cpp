#include "freelunch/checkpoint/files/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"

namespace freelunch::checkpoint {
namespace {

/// Closes a descriptor at the end of a scope; the memory map stays valid.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path, std::string_view format)
    : name_(path.filename().string()) {
  const std::string shown = printable(path.string());
  // without O_NONBLOCK, open() would wait for ever if the path is a pipe
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0) {
    const ErrorKind kind = errno == ENOENT || errno == ENOTDIR ? ErrorKind::kBadFile : ErrorKind::kIo;
    fail(kind, "{}: cannot open {}: {}", format, shown, system_error_text());
  }
  struct stat status;
  if (::fstat(file.number, &status) != 0) {
    fail(ErrorKind::kIo, "{}: cannot query {}: {}", format, shown, system_error_text());
  }
  if (S_ISDIR(status.st_mode))
    fail(ErrorKind::kBadFile, "{}: {} is a folder, expected a file", format, shown);
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::kBadFile, "{}: {} is not a regular file", format, shown);
  if (status.st_size == 0) fail(ErrorKind::kBadFile, "{}: {} is empty; incomplete download?", format, shown);
  size_ = static_cast<size_t>(status.st_size);
  void* map = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number, 0);
  if (map == MAP_FAILED) {
    fail(ErrorKind::kIo, "{}: cannot map {} of {} bytes: {}", format, shown, size_, system_error_text());
  }
  data_ = static_cast<const std::byte*>(map);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::release(size_t offset, size_t size) const {
  if (size == 0) return;
  // Whole pages, so neighbouring bytes go too: otherwise a small tensor would keep its page. A page that is
  // still needed is only read again.
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = offset / page * page;
  ::madvise(const_cast<std::byte*>(data_) + begin, offset + size - begin, MADV_DONTNEED);
}

bool looks_like_lfs_pointer(std::span<const std::byte> content) {
  constexpr std::string_view kStart = "version https://git-lfs";
  return content.size() >= kStart.size() && std::memcmp(content.data(), kStart.data(), kStart.size()) == 0;
}

}  // namespace freelunch::checkpoint
