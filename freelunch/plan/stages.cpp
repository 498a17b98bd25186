#include "freelunch/plan/stages.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <string_view>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

/// "NAME" or "NAMEs:K".
Stage parse_stage(const std::string& item, const std::string& list) {
  if (item == "half") return {.name = "sublayer"};  // the former name of the stage
  if (item.empty()) fail(ErrorKind::kInvalidArgument, "repair '{}' has an empty stage name", list);
  const size_t colon = item.find(':');
  if (colon == std::string::npos) return {.name = item};
  const std::string_view plural = std::string_view(item).substr(0, colon);
  const std::string_view count = std::string_view(item).substr(colon + 1);
  int64_t blocks = 0;
  const auto [end, error] = std::from_chars(count.data(), count.data() + count.size(), blocks);
  if (error != std::errc() || end != count.data() + count.size() || blocks < 1 || plural.size() < 2 ||
      !plural.ends_with('s')) {
    fail(ErrorKind::kInvalidArgument,
         "repair stage '{}' cannot be read; expected a name, or blocks:K with a positive integer K", item);
  }
  Stage stage{.name = std::string(plural), .blocks = blocks};
  stage.name.pop_back();
  return stage;
}

}  // namespace

std::string to_string(const Stage& stage) {
  return stage.blocks == 1 ? stage.name : fmt::format("{}s:{}", stage.name, stage.blocks);
}

std::string to_string(const std::vector<Stage>& stages) {
  std::string list;
  for (const Stage& stage : stages) list += (list.empty() ? "" : ",") + to_string(stage);
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
