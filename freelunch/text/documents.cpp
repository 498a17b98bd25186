#include "freelunch/text/documents.h"

#include <optional>

#include "freelunch/base/error.h"
#include "freelunch/base/white_space.h"
#include "freelunch/text/json_items.h"

namespace freelunch::text {
namespace {

using nlohmann::json;

/// The document of an item, or nothing if it is null. Throws BadFile if there is none.
std::optional<std::string> document_of(JsonItem& item, const std::string& field) {
  const auto refuse = [&](const std::string& what) { fail(ErrorKind::kBadFile, "{}: {}", item.where, what); };
  json& value = item.json.value;
  if (!item.json.fault.empty()) refuse("not valid JSON: " + item.json.fault);
  if (!value.is_object() && !value.is_string() && !value.is_null())
    refuse(fmt::format("{}, expected an object with a \"{}\" string", type_of(value), field));
  if (value.is_object() && !value.contains(field))
    refuse(
        fmt::format("no field \"{}\"; the fields are: {}; choose one with `field`", field, fields_of(value)));
  json& document = value.is_object() ? value[field] : value;
  if (document.is_null()) return std::nullopt;
  if (!document.is_string())
    refuse(fmt::format("field \"{}\" is {}, expected a string", field, type_of(document)));
  auto& text = document.get_ref<std::string&>();
  if (item.json.is_broken(text))
    refuse(
        "the text has half of a surrogate pair (an escape from \\ud800 to \\udfff), which is no character");
  return std::move(text);
}

/// What counts the documents that were read and left out.
struct Count {
  int64_t read = 0;
  int64_t null = 0;
  std::string first_null;
};

void visit_json(TextStream& text, JsonForm form, const TextFormat& format, Count& count, const Visit& visit) {
  JsonItems items(text, form);
  while (std::optional<JsonItem> item = items.next()) {
    std::optional<std::string> document = document_of(*item, format.field);
    if (!document) {
      if (++count.null == 1) count.first_null = item->where;
      continue;
    }
    ++count.read;
    if (!visit(std::move(*document))) return;
  }
}

void visit_plain(TextStream& text, const TextFormat& format, Count& count, const Visit& visit) {
  if (!format.one_document_a_line) {
    std::string document = text.rest();
    if (document.empty()) return;
    ++count.read;
    visit(std::move(document));
    return;
  }
  for (std::string line; text.line(line);) {
    if (is_blank(line)) continue;
    ++count.read;
    if (!visit(std::string(line))) return;
  }
}

}  // namespace

void for_each_document(const std::filesystem::path& path, const TextFormat& format, LogSink& log,
                       const Visit& visit) {
  TextStream text(path);
  Count count;
  if (const auto form = json_form(text))
    visit_json(text, *form, format, count, visit);
  else
    visit_plain(text, format, count, visit);
  if (count.read == 0 && count.null > 0)
    fail(ErrorKind::kBadFile, "{}: contains no text: all its documents are null ({})", text.name(),
         count.null);
  if (count.null > 0)
    log.log(LogLevel::kWarning, fmt::format("{}: documents that are null are left out: {}, {} were read",
                                            count.first_null, count.null, count.read));
  if (count.read == 0) fail(ErrorKind::kBadFile, "{}: contains no text", text.name());
}

std::vector<std::string> read_documents(const std::filesystem::path& path, const TextFormat& format,
                                        LogSink& log) {
  std::vector<std::string> documents;
  for_each_document(path, format, log, [&](std::string&& document) {
    documents.push_back(std::move(document));
    return true;
  });
  return documents;
}

std::string join_wikitext(std::string_view text) {
  std::string joined;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    const size_t end = newline == std::string_view::npos ? text.size() : newline + 1;
    if (begin > 0) joined += "\n\n";
    if (const std::string_view line = text.substr(begin, end - begin); !is_blank(line)) joined += line;
    begin = end;
  }
  return joined;
}

}  // namespace freelunch::text
