#pragma once
#include <filesystem>
#include <string_view>

namespace freelunch::checkpoint {

/// Writes a file under a temporary name beside its place, flushes it and renames it: a reader sees the former
/// content or the new one, never a part. Throws Io with path and reason.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// A folder that appears as a whole or not at all: files go to a staging folder beside it, commit() renames
/// that into place.
class OutputFolder {
 public:
  /// Creates missing parents and the staging folder `<final>.partial-<pid>`. Throws InvalidArgument if
  /// `final_path` is a file, or a folder that is not empty without `overwrite`; Io if the operating system
  /// refuses.
  OutputFolder(const std::filesystem::path& final_path, bool overwrite);
  /// Removes the staging folder unless commit() succeeded.
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  /// The staging folder.
  const std::filesystem::path& path() const { return staging_; }

  /// Flushes every file and renames the staging folder into place. With overwrite the former folder is
  /// renamed aside first and removed last; a failure in between puts it back. path() is void afterwards.
  void commit();

 private:
  void refuse_occupied() const;

  std::filesystem::path final_;
  std::filesystem::path staging_;
  bool overwrite_;
  bool committed_ = false;
};

}  // namespace freelunch::checkpoint
