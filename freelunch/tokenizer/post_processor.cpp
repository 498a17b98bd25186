#include "freelunch/tokenizer/post_processor.h"

#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"

namespace freelunch::tokenizer {
namespace {

using nlohmann::json;

void read_template(const json& entry, Ends& ends, std::string_view file) {
  std::vector<TokenId>* side = &ends.prefix;
  for (const json& part : entry.at("single")) {
    if (part.contains("Sequence")) {
      side = &ends.suffix;
      continue;
    }
    const auto name = part.at("SpecialToken").at("id").get<std::string>();
    for (const json& id : entry.at("special_tokens").at(name).at("ids"))
      side->push_back(checked_id(id, file, name));
  }
}

void read(const json& entry, Ends& ends, std::string_view file) {
  if (entry.is_null()) return;
  const auto type = entry.at("type").get<std::string>();
  if (type == "Sequence") {
    for (const json& part : entry.at("processors")) read(part, ends, file);
  } else if (type == "TemplateProcessing") {
    read_template(entry, ends, file);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    ends.prefix.push_back(checked_id(entry.at("cls").at(1), file, "cls"));
    ends.suffix.push_back(checked_id(entry.at("sep").at(1), file, "sep"));
  } else if (type != "ByteLevel") {
    fail(ErrorKind::kUnsupported, "{}: post-processor '{}' is not supported", file, type);
  }
}

}  // namespace

TokenId checked_id(const json& value, std::string_view file, std::string_view token) {
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > kMaxTokenId) {
    fail(ErrorKind::kBadFile, "{}: token '{}' has id {}, expected an integer in [0, {}]", file, token,
         value.dump(), kMaxTokenId);
  }
  return value.get<TokenId>();
}

Ends ends_from_json(const json& entry, std::string_view file) {
  Ends ends;
  read(entry, ends, file);
  return ends;
}

}  // namespace freelunch::tokenizer
