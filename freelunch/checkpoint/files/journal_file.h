#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace freelunch::checkpoint {

/// The lines of a journal that count: from the first one up to the first that is torn, changed or out of
/// order.
struct JournalContent {
  std::vector<nlohmann::json> records;
  size_t bytes = 0;         ///< of the lines that count
  std::string last_digest;  ///< of the last of them; empty if there is none
};
/// Reads text of any origin; what does not count is not an error.
JournalContent read_journal(std::string_view text);

/// A file of JSON lines, `{"sha256":"<64 hex digits>","record":<JSON>}`. The digest covers the line before's
/// digest and the record's text, so that a lost, changed or torn line ends what counts. A record is on the
/// disk when append() returns.
class JournalFile {
 public:
  /// Opens or creates the file and cuts off what does not count. Throws Io.
  explicit JournalFile(std::filesystem::path path);
  ~JournalFile();
  JournalFile(const JournalFile&) = delete;
  JournalFile& operator=(const JournalFile&) = delete;

  const std::vector<nlohmann::json>& records() const { return records_; }
  /// Throws Io, and leaves at most a torn line behind.
  void append(nlohmann::json record);
  /// Replaces the whole file at once.
  void rewrite(const std::vector<nlohmann::json>& records);

 private:
  void open();

  std::filesystem::path path_;
  int descriptor_ = -1;
  std::string last_digest_;
  std::vector<nlohmann::json> records_;
};

}  // namespace freelunch::checkpoint
