#include "freelunch/checkpoint/tensor_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "freelunch/base/error.h"
#include "freelunch/base/printable.h"

namespace freelunch::checkpoint {

TensorWriter::TensorWriter(std::filesystem::path file, std::string_view format)
    : file_(std::move(file)),
      partial_(file_.string() + ".partial-" + std::to_string(::getpid())),
      format_(format) {}

TensorWriter::~TensorWriter() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(partial_.c_str());
}

void TensorWriter::refuse(std::string_view action) const {
  fail(ErrorKind::kIo, "cannot {} '{}': {}", action, file_.string(), system_error_text());
}

void TensorWriter::place(const std::string& name, uint64_t begin, uint64_t bytes) {
  if (!slots_.emplace(name, Slot{begin, bytes, 0, false}).second) {
    fail(ErrorKind::kInvalidArgument, "{}: tensor name '{}' is used twice", format_, printable(name));
  }
}

void TensorWriter::reserve(std::string_view header, uint64_t size) {
  size_ = size;
  descriptor_ = ::open(partial_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) refuse("create");
  try {
    // Reports a full disk now, not after hours of work. If the file system cannot reserve space, set the
    // size.
    const int result = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(size_));
    if (result == ENOSPC)
      fail(ErrorKind::kIo, "cannot write '{}': the disk has no space for {} bytes", file_.string(), size_);
    if (result != 0 && ::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) refuse("reserve space for");
    write_at({reinterpret_cast<const std::byte*>(header.data()), header.size()}, 0);
  } catch (...) {
    ::close(descriptor_);
    ::unlink(partial_.c_str());
    descriptor_ = -1;
    throw;
  }
}

void TensorWriter::write_at(std::span<const std::byte> data, uint64_t offset) {
  for (size_t done = 0; done < data.size();) {
    const ssize_t n =
        ::pwrite(descriptor_, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) refuse("write");
    done += static_cast<size_t>(n);
  }
}

TensorWriter::Slot& TensorWriter::slot_for(std::string_view name, uint64_t size, bool whole) {
  const auto it = slots_.find(std::string(name));
  // empty pieces are allowed after the end: the values of a matrix of zeros are any number of empty pieces
  const bool fits = it != slots_.end() &&
                    (whole ? !it->second.complete && it->second.written == 0 && size == it->second.bytes
                           : size <= it->second.bytes - it->second.written);
  if (!fits) {
    fail(ErrorKind::kInvalidArgument,
         "{}: tensor '{}' ({} more bytes) is not planned, was written before, or has another size", format_,
         printable(name), size);
  }
  return it->second;
}

void TensorWriter::write(std::string_view name, std::span<const std::byte> data) {
  Slot& slot = slot_for(name, data.size(), true);
  write_at(data, slot.begin);
  slot.written = data.size();
  slot.complete = true;
}

void TensorWriter::append(std::string_view name, std::span<const std::byte> data) {
  Slot& slot = slot_for(name, data.size(), false);
  write_at(data, slot.begin + slot.written);
  slot.written += data.size();
  slot.complete = slot.written == slot.bytes;
}

void TensorWriter::finish() {
  for (const auto& [name, slot] : slots_) {
    if (!slot.complete && slot.written < slot.bytes) {
      fail(ErrorKind::kInvalidArgument, "{}: tensor '{}' has only {} of {} bytes", format_, printable(name),
           slot.written, slot.bytes);
    }
  }
  struct stat status {};
  if (::fsync(descriptor_) != 0 || ::fstat(descriptor_, &status) != 0) refuse("flush");
  if (static_cast<uint64_t>(status.st_size) != size_)
    fail(ErrorKind::kIo, "'{}' has {} bytes after writing, expected {}", file_.string(), status.st_size,
         size_);
  if (::rename(partial_.c_str(), file_.c_str()) != 0) refuse("rename");
  ::close(descriptor_);
  descriptor_ = -1;
}

}  // namespace freelunch::checkpoint
