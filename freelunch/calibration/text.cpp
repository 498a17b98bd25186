#include "freelunch/calibration/text.h"

#include <zlib.h>

#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <string_view>

#include "freelunch/base/error.h"

namespace freelunch::calibration {
namespace {

namespace fs = std::filesystem;

/// Reads a plain or gzip file: zlib returns the bytes of a file that is not gzip unchanged.
std::string read_whole(const fs::path& path) {
  if (!fs::exists(path)) fail(ErrorKind::kBadFile, "text '{}' does not exist", path.string());
  if (fs::is_directory(path))
    fail(ErrorKind::kBadFile, "text '{}' is a folder, expected a file", path.string());
  const std::unique_ptr<gzFile_s, decltype(&gzclose_r)> file(gzopen(path.c_str(), "rb"), &gzclose_r);
  if (file == nullptr) fail(ErrorKind::kIo, "cannot open text '{}': {}", path.string(), system_error_text());
  std::string content;
  std::array<char, 1 << 16> buffer{};
  int n = 0;
  while ((n = gzread(file.get(), buffer.data(), static_cast<unsigned>(buffer.size()))) > 0) {
    content.append(buffer.data(), static_cast<size_t>(n));
  }
  int problem = Z_OK;
  gzerror(file.get(), &problem);  // gzread reports no error for a truncated file, but gzerror does
  if (n < 0 || problem != Z_OK)
    fail(ErrorKind::kBadFile, "text '{}' is a broken or truncated gzip file", path.string());
  return content;
}

template <typename Visit>
void for_each_line(std::string_view text, Visit visit) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const size_t end = newline == std::string_view::npos ? text.size() : newline + 1;
    visit(text.substr(begin, end - begin));
    begin = end;
  }
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

std::vector<std::string> json_lines(const std::string& content, const std::string& file) {
  std::vector<std::string> documents;
  int64_t number = 0;
  for_each_line(content, [&](std::string_view line) {
    ++number;
    if (is_blank(line)) return;
    const auto object = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("text") || !object["text"].is_string()) {
      fail(ErrorKind::kBadFile, "{}: line {} is not a JSON object with a \"text\" string", file, number);
    }
    documents.push_back(object["text"].get<std::string>());
  });
  return documents;
}

}  // namespace

std::vector<std::string> read_documents(const fs::path& path, const TextFormat& format) {
  const std::string file = path.filename().string();
  if (file.ends_with(".parquet")) {
    fail(ErrorKind::kUnsupported,
         "{}: parquet is not read; export its text column first, for example with pandas: "
         "df[['text']].to_json('text.jsonl', orient='records', lines=True)",
         file);
  }
  std::string content = read_whole(path);
  std::vector<std::string> documents;
  if (file.ends_with(".jsonl") || file.ends_with(".jsonl.gz")) {
    documents = json_lines(content, file);
  } else if (format.one_document_a_line) {
    for_each_line(content, [&](std::string_view line) {
      if (!is_blank(line)) documents.emplace_back(line);
    });
  } else if (!content.empty()) {
    documents.push_back(std::move(content));
  }
  if (documents.empty()) fail(ErrorKind::kBadFile, "{}: contains no text", file);
  return documents;
}

std::string join_wikitext(const std::string& text) {
  std::string joined;
  bool first = true;
  for_each_line(text, [&](std::string_view line) {
    if (!first) joined += "\n\n";
    first = false;
    if (!is_blank(line)) joined += line;
  });
  return joined;
}

}  // namespace freelunch::calibration
