#include "freelunch/plan/stages.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

/// "NAME" or "NAMEs:K".
Stage parse_stage(const std::string& item, const std::string& list) {
  if (item == "half") return {.name = "sublayer"};  // the former name of the stage
  if (item.empty()) fail(ErrorKind::kInvalidArgument, "repair '{}' has an empty stage name", list);
  if (item.find(':') == std::string::npos) return {.name = item};
  const size_t plural = item.find("s:");
  int64_t blocks = 0;
  bool readable = plural != std::string::npos && plural > 0;
  if (readable) {
    const char* count = item.c_str() + plural + 2;
    const char* last = item.c_str() + item.size();
    const auto [end, error] = std::from_chars(count, last, blocks);
    readable = error == std::errc() && end == last && blocks >= 1;
  }
  if (!readable) {
    fail(ErrorKind::kInvalidArgument,
         "repair stage '{}' cannot be read; expected a name, or blocks:K with a positive integer K", item);
  }
  return {.name = item.substr(0, plural), .blocks = blocks};
}

}  // namespace

std::string to_string(const Stage& stage) {
  return stage.blocks == 1 ? stage.name : fmt::format("{}s:{}", stage.name, stage.blocks);
}

std::string to_string(const std::vector<Stage>& stages) {
  std::string list;
  for (const Stage& stage : stages) list += fmt::format("{}{}", list.empty() ? "" : ",", to_string(stage));
  return list.empty() ? "none" : list;
}

Repair parse_repair(const std::string& text) {
  if (text == "auto") return {.automatic = true, .stages = {}};
  Repair repair;
  if (text == "none") return repair;
  if (text.empty()) fail(ErrorKind::kInvalidArgument, "repair is empty; did you mean none?");
  if (text.ends_with(',')) {  // getline would drop the empty item after it
    fail(ErrorKind::kInvalidArgument, "repair '{}' ends in a comma", text);
  }
  std::stringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    const Stage stage = parse_stage(item, text);
    if (std::find(repair.stages.begin(), repair.stages.end(), stage) != repair.stages.end()) {
      fail(ErrorKind::kInvalidArgument, "repair '{}' names stage {} twice", text, item);
    }
    repair.stages.push_back(stage);
  }
  return repair;
}

}  // namespace freelunch::pipeline
