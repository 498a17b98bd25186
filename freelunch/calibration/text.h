#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace freelunch::calibration {

/// How a text file is split into documents.
struct TextFormat {
  bool one_document_a_line = false;  ///< plain text: each line is a document; otherwise the file is one
};

/// Reads the documents of a text file: .jsonl or .jsonl.gz (one object with a "text" field per line),
/// anything else as plain text (.gz is unpacked). Throws BadFile for an absent, empty or malformed file,
/// Unsupported with a hint for .parquet.
std::vector<std::string> read_documents(const std::filesystem::path& path, const TextFormat& format = {});

/// Joins the lines of WikiText-2 as published perplexities do: a row is a line with its newline, a line of
/// white space alone is the empty row, and rows are joined by two newlines (docs/methods/perplexity.md).
std::string join_wikitext(const std::string& text);

}  // namespace freelunch::calibration
