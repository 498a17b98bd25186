#include "checkpoint/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"

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

OutputFolder::OutputFolder(const fs::path& final_path, bool overwrite)
    : final_(fs::absolute(final_path).lexically_normal()), overwrite_(overwrite) {
  if (!final_.has_filename()) final_ = final_.parent_path();  // "out/" is "out"
  refuse_occupied();
  std::error_code error;
  fs::create_directories(final_.parent_path(), error);
  staging_ = with_suffix(final_, ".partial-");
  if (!error) {
    fs::remove_all(staging_, error);  // of a process that had this id before
    fs::create_directory(staging_, error);
  }
  if (error) fail(ErrorKind::kIo, "cannot create output folder '{}': {}", staging_.string(), error.message());
}

void OutputFolder::refuse_occupied() const {
  std::error_code error;
  if (!fs::exists(final_, error)) return;
  if (!fs::is_directory(final_))
    fail(ErrorKind::kInvalidArgument, "output '{}' is a file, expected a folder that does not exist yet",
         final_.string());
  if (!overwrite_ && !fs::is_empty(final_)) {
    fail(ErrorKind::kInvalidArgument,
         "output folder '{}' exists and is not empty; pass --overwrite to replace it", final_.string());
  }
}

OutputFolder::~OutputFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(staging_, ignored);
}

void OutputFolder::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(staging_)) {
    if (entry.is_regular_file()) flush(entry.path());
  }
  flush(staging_);
  refuse_occupied();
  const fs::path aside = with_suffix(final_, ".replaced-");
  const bool replaces = fs::exists(final_);
  if (replaces && ::rename(final_.c_str(), aside.c_str()) != 0) refuse("move aside", final_);
  if (::rename(staging_.c_str(), final_.c_str()) != 0) {
    const std::string reason = system_error_text();
    if (replaces) ::rename(aside.c_str(), final_.c_str());
    fail(ErrorKind::kIo, "cannot rename '{}' into '{}': {}", staging_.string(), final_.string(), reason);
  }
  committed_ = true;
  flush(final_.parent_path());
  std::error_code ignored;
  if (replaces) fs::remove_all(aside, ignored);
}

}  // namespace freelunch::checkpoint
