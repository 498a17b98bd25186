#pragma once
#include <filesystem>
#include <string_view>

namespace freelunch::checkpoint {

/// Writes a file under a temporary name beside its place, flushes it and renames it: a reader sees the former
/// content or the new one, never a part. Throws Io with path and reason.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// What becomes of an output folder's staging folder when the process ends before commit().
enum class Staging {
  kTemporary,  ///< `<final>.partial-<pid>`, removed with the object
  kLasting  ///< `<final>.partial`, which a later process finds again; removed with the object unless keep()
};

/// A folder that appears as a whole or not at all: files go to a staging folder beside it, commit() renames
/// that into place.
class OutputFolder {
 public:
  /// Creates missing parents and the staging folder. Throws InvalidArgument if `final_path` is a file, or a
  /// folder that is not empty without `overwrite`, or if another process holds the lasting staging folder; Io
  /// if the operating system refuses.
  OutputFolder(const std::filesystem::path& final_path, bool overwrite,
               Staging staging = Staging::kTemporary);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  /// Where the files of the output go.
  const std::filesystem::path& path() const { return content_; }
  /// The lasting staging folder, for files that help to make the output and are no part of it.
  const std::filesystem::path& work() const { return staging_; }
  /// Leaves the lasting staging folder to a later process if this one does not commit(). One that was there
  /// before stays in any case.
  void keep_partial() { kept_ = true; }
  bool keeps_partial() const { return kept_; }
  /// Empties path().
  void clear();
  /// Empties work(), and forgets that it was there before.
  void start_over();

  /// Flushes every file and renames path() into place. With overwrite it changes places with the former
  /// folder at once where the file system can, which is then removed. path() and work() are void afterwards.
  void commit();

 private:
  void refuse_occupied() const;
  void lock();
  void replace();

  std::filesystem::path final_;
  std::filesystem::path staging_, content_;
  bool overwrite_;
  bool kept_ = false;
  bool committed_ = false;
  int lock_ = -1;
};

}  // namespace freelunch::checkpoint
