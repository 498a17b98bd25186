#include "freelunch/checkpoint/files/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "freelunch/base/error.h"

namespace freelunch::checkpoint {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const char* action, const fs::path& path) {
  fail(ErrorKind::kIo, "cannot {} '{}': {}", action, path.string(), system_error_text());
}

/// Flushes a file or a folder to the disk.
void flush(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) refuse("open", path);
  const int result = ::fsync(descriptor);
  ::close(descriptor);
  if (result != 0) refuse("flush", path);
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

std::string with_suffix(const fs::path& path, const char* suffix) {
  return path.string() + suffix + std::to_string(::getpid());
}

}  // namespace

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path partial = with_suffix(path, ".partial-");
  const int descriptor = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) refuse("create", partial);
  write_all(descriptor, content, partial);
  const bool flushed = ::fsync(descriptor) == 0;
  ::close(descriptor);
  if (!flushed) refuse("flush", partial);
  if (::rename(partial.c_str(), path.c_str()) != 0) refuse("rename into", path);
}

OutputFolder::OutputFolder(const fs::path& final_path, bool overwrite, Staging staging)
    : final_(fs::absolute(final_path).lexically_normal()), overwrite_(overwrite) {
  if (!final_.has_filename()) final_ = final_.parent_path();  // "out/" is "out"
  refuse_occupied();
  std::error_code error;
  fs::create_directories(final_.parent_path(), error);
  if (staging == Staging::kTemporary) {
    staging_ = content_ = with_suffix(final_, ".partial-");
    if (!error) fs::remove_all(staging_, error);  // of a process that had this id before
  } else {
    staging_ = final_.string() + ".partial";
    kept_ = fs::exists(staging_, error);
    content_ = staging_ / "output";  // the work beside it must outlive a rename that does not happen
  }
  if (!error) fs::create_directories(content_, error);
  if (error) fail(ErrorKind::kIo, "cannot create output folder '{}': {}", content_.string(), error.message());
  if (staging == Staging::kLasting) lock();
}

void OutputFolder::lock() {
  // A lock on the folder itself goes with the process, however that ends.
  lock_ = ::open(staging_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) refuse("open", staging_);
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0) return;
  const bool taken = errno == EWOULDBLOCK;
  const std::string reason = system_error_text();
  ::close(lock_);
  if (taken)
    fail(ErrorKind::kInvalidArgument, "another process is at work on '{}'; wait for it, or stop it",
         staging_.string());
  fail(ErrorKind::kIo, "cannot lock '{}': {}", staging_.string(), reason);
}

void OutputFolder::clear() {
  std::error_code error;
  fs::remove_all(content_, error);
  if (!error) fs::create_directory(content_, error);
  if (error) fail(ErrorKind::kIo, "cannot empty '{}': {}", content_.string(), error.message());
}

void OutputFolder::start_over() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(staging_, error)) {
    if (!error) fs::remove_all(entry.path(), error);
  }
  if (error) fail(ErrorKind::kIo, "cannot empty '{}': {}", staging_.string(), error.message());
  clear();
  kept_ = false;
}

void OutputFolder::refuse_occupied() const {
  std::error_code error;
  if (!fs::exists(final_, error)) return;
  if (!fs::is_directory(final_))
    fail(ErrorKind::kInvalidArgument, "output '{}' is a file, expected a folder that does not exist yet",
         final_.string());
  if (!overwrite_ && !fs::is_empty(final_)) {
    fail(ErrorKind::kInvalidArgument,
         "output folder '{}' exists and is not empty; set `overwrite` to replace it", final_.string());
  }
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!committed_ && !kept_) fs::remove_all(staging_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

/// Where nothing is there to exchange, or the file system cannot.
void OutputFolder::replace() {
  const fs::path aside = with_suffix(final_, ".replaced-");
  const bool replaces = fs::exists(final_);
  if (replaces && ::rename(final_.c_str(), aside.c_str()) != 0) refuse("move aside", final_);
  if (::rename(content_.c_str(), final_.c_str()) != 0) {
    const std::string reason = system_error_text();
    if (replaces) ::rename(aside.c_str(), final_.c_str());
    fail(ErrorKind::kIo, "cannot rename '{}' into '{}': {}", content_.string(), final_.string(), reason);
  }
  std::error_code ignored;
  if (replaces) fs::remove_all(aside, ignored);
}

void OutputFolder::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(content_)) {
    if (entry.is_regular_file()) flush(entry.path());
  }
  flush(content_);
  refuse_occupied();
  if (!fs::exists(final_) ||
      ::renameat2(AT_FDCWD, content_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) != 0)
    replace();
  committed_ = true;
  flush(final_.parent_path());
  std::error_code ignored;
  fs::remove_all(staging_, ignored);  // after an exchange, with the former output in it
}

}  // namespace freelunch::checkpoint
