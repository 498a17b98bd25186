#include "freelunch/plan/stages.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <sstream>

#include "freelunch/base/enum_names.h"
#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

constexpr EnumNames<StageKind, 7> kStages{{{StageKind::kSolve, "solve"},
                                           {StageKind::kMatrix, "matrix"},
                                           {StageKind::kSublayer, "sublayer"},
                                           {StageKind::kBlocks, "block"},
                                           {StageKind::kModel, "model"},
                                           {StageKind::kLora, "lora"},
                                           {StageKind::kBiasNorm, "bias-norm"}}};

Stage parse_stage(const std::string& text) {
  if (text == "half") return {.kind = StageKind::kSublayer};  // the former name of the stage
  for (const auto& [stage, stage_name] : kStages) {
    if (stage_name == text) return {.kind = stage};
  }
  if (text.starts_with("blocks:")) {
    int64_t blocks = 0;
    const auto [end, error] = std::from_chars(text.data() + 7, text.data() + text.size(), blocks);
    if (error == std::errc() && end == text.data() + text.size() && blocks >= 1)
      return {.kind = StageKind::kBlocks, .blocks = blocks};
  }
  fail(ErrorKind::kInvalidArgument,
       "repair stage '{}' is not known; expected auto, none, or a list of solve, matrix, sublayer, block, "
       "blocks:K, "
       "model, lora, bias-norm",
       text);
}

}  // namespace

std::string to_string(const Stage& stage) {
  if (stage.kind == StageKind::kBlocks && stage.blocks != 1) return fmt::format("blocks:{}", stage.blocks);
  return std::string(name_in(kStages, stage.kind));
}

reconstruct::Trains trained_by(const Stage& stage) {
  using reconstruct::Trains;
  return stage.kind == StageKind::kLora       ? Trains::kLora
         : stage.kind == StageKind::kBiasNorm ? Trains::kBiasNorm
                                              : Trains::kRetained;
}

bool is_local(const Stage& stage) {
  return stage.kind == StageKind::kMatrix || stage.kind == StageKind::kSublayer ||
         stage.kind == StageKind::kBlocks;
}

bool is_global(const Stage& stage) {
  return stage.kind == StageKind::kModel || stage.kind == StageKind::kLora ||
         stage.kind == StageKind::kBiasNorm;
}

Repair parse_repair(const std::string& text) {
  if (text == "auto") return {.automatic = true, .stages = {}};
  Repair repair;
  if (text == "none") return repair;
  if (text.ends_with(',')) {  // getline would drop the empty item after it
    fail(ErrorKind::kInvalidArgument, "repair '{}' ends in a comma", text);
  }
  std::stringstream list(text);
  for (std::string item; std::getline(list, item, ',');) {
    const Stage stage = parse_stage(item);
    if (std::find(repair.stages.begin(), repair.stages.end(), stage) != repair.stages.end()) {
      fail(ErrorKind::kInvalidArgument, "repair '{}' names stage {} twice", text, item);
    }
    if (stage.kind == StageKind::kSolve && !repair.stages.empty()) {
      fail(ErrorKind::kInvalidArgument,
           "repair '{}': solve must come first, because it chooses the masks as it goes", text);
    }
    repair.stages.push_back(stage);
  }
  if (repair.stages.empty()) fail(ErrorKind::kInvalidArgument, "repair is empty; did you mean none?");
  return repair;
}

double default_rate(const Stage& stage, int64_t width) {
  const double scale = std::min(1.0, 576 / static_cast<double>(width));
  switch (stage.kind) {
    case StageKind::kModel:
      return 2e-4 * scale;
    case StageKind::kLora:
      return 2e-3 * scale;
    case StageKind::kBiasNorm:
      return 3e-3 * scale;
    case StageKind::kMatrix:
      return 5e-4 * scale;
    default: {
      // Every sublayer in series adds its change to the region's output, so each may move less.
      const int64_t sublayers = stage.kind == StageKind::kSublayer ? 1 : 2 * stage.blocks;
      return 2e-3 * scale / std::sqrt(static_cast<double>(sublayers));
    }
  }
}

int64_t default_epochs(const std::vector<Stage>& stages) {
  const auto any = [&](auto is) { return std::any_of(stages.begin(), stages.end(), is); };
  return any(is_local) && any(is_global) ? 1 : 2;
}

}  // namespace freelunch::pipeline
