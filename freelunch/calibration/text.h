#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace freelunch::calibration {

/// How a text file is split into documents.
struct TextFormat {
  bool one_document_a_line = false;  ///< for plain text; otherwise the file is one document
};

/// The documents of a text: .jsonl or .jsonl.gz (objects with a "text" field, one a line), anything else as
/// plain UTF-8 (.gz unpacked). Throws BadFile for an absent, empty or malformed file, Unsupported for
/// .parquet with a hint.
std::vector<std::string> read_documents(const std::filesystem::path& path, const TextFormat& format = {});

/// How WikiText-2 is put together for published perplexities: rows are lines with their newline kept, a line
/// of white space alone is the empty row, rows are joined by two newlines (docs/methods/perplexity.md).
std::string join_wikitext(const std::string& text);

}  // namespace freelunch::calibration
