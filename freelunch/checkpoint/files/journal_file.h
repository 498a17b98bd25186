#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace freelunch::checkpoint {

/// The valid lines of a journal: all lines before the first one that is torn, changed or out of order.
struct JournalContent {
  std::vector<nlohmann::json> records;
  size_t bytes = 0;         ///< size of the valid lines
  std::string last_digest;  ///< the digest of the last valid line; empty if there is none
};
/// Reads any text. Invalid lines are not an error.
JournalContent read_journal(std::string_view text);

/// A file of JSON lines, `{"sha256":"<64 hex digits>","record":<JSON>}`. The digest covers the digest of the
/// line before and the text of the record, so the journal is valid up to the first line that is lost, changed
/// or torn. A record is on the disk when append() returns.
class JournalFile {
 public:
  /// Opens or creates the file and cuts off invalid lines. Throws Io.
  explicit JournalFile(std::filesystem::path path);
  ~JournalFile();
  JournalFile(const JournalFile&) = delete;
  JournalFile& operator=(const JournalFile&) = delete;

  const std::vector<nlohmann::json>& records() const { return records_; }
  /// Throws Io; at most a torn line is then left in the file.
  void append(nlohmann::json record);
  /// Replaces the whole file in one step.
  void rewrite(const std::vector<nlohmann::json>& records);

 private:
  void open();

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string last_digest_;
  std::vector<nlohmann::json> records_;
};

}  // namespace freelunch::checkpoint
