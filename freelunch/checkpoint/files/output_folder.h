#pragma once
#include <filesystem>

namespace freelunch::checkpoint {

/// What happens to an output folder's staging folder when the process ends before commit().
enum class Staging {
  kTemporary,  ///< `<final>.partial-<pid>`: removed with the object
  kLasting     ///< `<final>.partial`: removed with the object unless keep_partial() was called
};

/// A folder that appears as a whole or not at all. Files are written to a staging folder next to it;
/// commit() renames the staging folder into place.
class OutputFolder {
 public:
  /// Creates missing parents and the staging folder. Throws InvalidArgument if `final_path` is a file, if it
  /// is a folder that is not empty and `overwrite` is false, or if another process holds the lasting staging
  /// folder; Io if the operating system refuses.
  OutputFolder(const std::filesystem::path& final_path, bool overwrite,
               Staging staging = Staging::kTemporary);
  ~OutputFolder();
  OutputFolder(const OutputFolder&) = delete;
  OutputFolder& operator=(const OutputFolder&) = delete;

  /// The folder that receives the files of the output.
  const std::filesystem::path& path() const { return content_; }
  /// The lasting staging folder, for working files that do not belong to the output.
  const std::filesystem::path& work() const { return staging_; }
  /// Keeps the lasting staging folder for a later process if this one does not commit(). A staging folder
  /// that an earlier process left is kept in any case.
  void keep_partial() { kept_ = true; }
  bool keeps_partial() const { return kept_; }
  /// Empties path().
  void clear();
  /// Empties work(), which is then treated as new.
  void start_over();

  /// Flushes every file and renames path() into place. With `overwrite` the new and the former folder are
  /// exchanged in one step where the file system can do so; the former folder is then removed. path() and
  /// work() must not be used afterwards.
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
