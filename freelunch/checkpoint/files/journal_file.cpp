#include "freelunch/checkpoint/files/journal_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "freelunch/base/digest.h"
#include "freelunch/base/error.h"
#include "freelunch/checkpoint/files/atomic_file.h"

namespace freelunch::checkpoint {
namespace {

using nlohmann::json;

constexpr std::string_view kDigestKey = R"({"sha256":")";
constexpr std::string_view kRecordKey = R"(","record":)";
constexpr size_t kDigits = 64;

/// The line of a record and its digest.
std::pair<std::string, std::string> line_of(const json& record, const std::string& before) {
  const std::string text = record.dump(-1, ' ', false, json::error_handler_t::replace);
  std::string digest = sha256(before + text);
  std::string line = fmt::format("{}{}{}{}}}\n", kDigestKey, digest, kRecordKey, text);
  return {std::move(line), std::move(digest)};
}

}  // namespace

JournalContent read_journal(std::string_view text) {
  constexpr size_t kStart = kDigestKey.size() + kDigits + kRecordKey.size();
  JournalContent content;
  while (true) {
    const std::string_view rest = text.substr(content.bytes);
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos || end <= kStart) return content;
    const std::string_view line = rest.substr(0, end);
    if (!line.starts_with(kDigestKey) || line.back() != '}' ||
        line.substr(kDigestKey.size() + kDigits, kRecordKey.size()) != kRecordKey)
      return content;
    const std::string digest(line.substr(kDigestKey.size(), kDigits));
    const std::string record(line.substr(kStart, line.size() - kStart - 1));
    if (sha256(content.last_digest + record) != digest) return content;
    json parsed = json::parse(record, nullptr, /*allow_exceptions=*/false);
    if (parsed.is_discarded()) return content;
    content.records.push_back(std::move(parsed));
    content.bytes += end + 1;
    content.last_digest = digest;
  }
}

JournalFile::JournalFile(std::filesystem::path path) : path_(std::move(path)) { open(); }

JournalFile::~JournalFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void JournalFile::open() {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail(ErrorKind::kIo, "cannot open '{}': {}", path_.string(), system_error_text());
  std::ifstream stream(path_, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(stream), {}};
  JournalContent content = read_journal(text);
  if (content.bytes < text.size() && ::ftruncate(descriptor_, static_cast<off_t>(content.bytes)) != 0)
    fail(ErrorKind::kIo, "cannot write '{}': {}", path_.string(), system_error_text());
  records_ = std::move(content.records);
  last_digest_ = std::move(content.last_digest);
}

void JournalFile::append(json record) {
  auto [line, digest] = line_of(record, last_digest_);
  for (size_t done = 0; done < line.size();) {
    const ssize_t n = ::write(descriptor_, line.data() + done, line.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(ErrorKind::kIo, "cannot write '{}': {}", path_.string(), system_error_text());
    done += static_cast<size_t>(n);
  }
  if (::fdatasync(descriptor_) != 0)
    fail(ErrorKind::kIo, "cannot flush '{}': {}", path_.string(), system_error_text());
  last_digest_ = std::move(digest);
  records_.push_back(std::move(record));
}

void JournalFile::rewrite(const std::vector<json>& records) {
  std::string text;
  std::string digest;
  for (const json& record : records) {
    auto [line, next] = line_of(record, digest);
    text += line;
    digest = std::move(next);
  }
  write_file_atomically(path_, text);
  ::close(descriptor_);
  open();
}

}  // namespace freelunch::checkpoint
