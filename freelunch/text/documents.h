#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "freelunch/base/sinks.h"

namespace freelunch::text {

/// How a text file is split into documents.
struct TextFormat {
  bool one_document_a_line = false;  ///< plain text: each line is a document; otherwise the file is one
  std::string field = "text";        ///< JSON: the field of an object that holds a document
};

/// Called with each document; returns whether it wants the next one.
using Visit = std::function<bool(std::string&& document)>;

/// Reads the documents of a text file in order, as long as they are wanted, in the memory of one document.
/// JSON lines and JSON arrays (json_form) give one document for each object or string, anything else is plain
/// text; see docs/formats/texts.md. Documents that are null are left out, with a warning of how many. Throws
/// BadFile for an absent or malformed file and for one without any document, and whatever TextStream throws.
void for_each_document(const std::filesystem::path& path, const TextFormat& format, LogSink& log,
                       const Visit& visit);

/// All documents of a file.
std::vector<std::string> read_documents(const std::filesystem::path& path, const TextFormat& format,
                                        LogSink& log);

/// Joins the lines of WikiText-2 as published perplexities do: a row is a line with its newline, a line of
/// white space alone is the empty row, and rows are joined by two newlines (docs/methods/perplexity.md).
std::string join_wikitext(std::string_view text);

}  // namespace freelunch::text
