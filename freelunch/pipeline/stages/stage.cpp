#include "freelunch/pipeline/stages/stage.h"

#include <algorithm>
#include <functional>

#include "freelunch/base/error.h"

// The table of stages: a line for each NAME.cpp of this folder that defines NAME_stage().
#define FREELUNCH_STAGES(STAGE) \
  STAGE(solve)                  \
  STAGE(matrix)                 \
  STAGE(sublayer)               \
  STAGE(block)                  \
  STAGE(model)                  \
  STAGE(lora)                   \
  STAGE(bias_norm)

namespace freelunch::pipeline {

#define FREELUNCH_DECLARE(stage) const StageType& stage##_stage();
#define FREELUNCH_ENTRY(stage) &stage##_stage(),

FREELUNCH_STAGES(FREELUNCH_DECLARE)

namespace {

/// The names of the stages that `wanted` takes, without those with a count.
std::string names_of(const std::function<bool(const StageType&)>& wanted) {
  std::string names;
  for (const StageType* type : all_stages()) {
    if (wanted(*type)) names += fmt::format("{}{}", names.empty() ? "" : ", ", type->name);
  }
  return names;
}

std::string names_of(StageScope scope) {
  return names_of([&](const StageType& type) { return type.scope == scope; });
}

}  // namespace

const std::vector<const StageType*>& all_stages() {
  static const std::vector<const StageType*> all{FREELUNCH_STAGES(FREELUNCH_ENTRY)};
  return all;
}

std::string stage_names() {
  std::string names;
  for (const StageType* type : all_stages()) {
    names += fmt::format("{}{}", names.empty() ? "" : ", ", type->name);
    if (type->takes_count) names += fmt::format(", {}s:K", type->name);
  }
  return names;
}

std::string stages_of(Use use) {
  switch (use) {
    case Use::kEveryRun:
      return "";
    case Use::kMasks:
      return "choosing masks";
    case Use::kStructure:
      return "structured pruning";
    case Use::kStatistics:
      return "choosing masks, " + names_of(StageScope::kMasks);
    case Use::kCalibration:
      return "calibration";
    case Use::kEvaluation:
      return "evaluation";
    case Use::kSolve:
    case Use::kSensitivity:
      return names_of(StageScope::kMasks);
    case Use::kRegions:
      return names_of(StageScope::kRegions);
    case Use::kWholeModel:
      return names_of(StageScope::kModel);
    case Use::kLora:
      return names_of([](const StageType& type) { return type.trains == reconstruct::Trains::kLora; });
  }
  return "";
}

const StageType& type_of(const Stage& stage) {
  for (const StageType* type : all_stages()) {
    if (type->name == stage.name) return *type;
  }
  fail(ErrorKind::kInvalidArgument, "repair stage '{}' is not known; expected auto, none, or a list of {}",
       to_string(stage), stage_names());
}

void check_repair(const CompressPlan& plan) {
  const std::vector<Stage>& stages = plan.repair.stages;
  for (size_t i = 0; i < stages.size(); ++i) {
    const StageType& type = type_of(stages[i]);
    if (stages[i].blocks != 1 && !type.takes_count) {
      fail(ErrorKind::kInvalidArgument,
           "repair stage '{}' takes no count; expected auto, none, or a list of {}", to_string(stages[i]),
           stage_names());
    }
    if (type.scope == StageScope::kMasks && i > 0) {
      fail(ErrorKind::kInvalidArgument,
           "`repair` {}: {} must come first, because it works while the masks are chosen", to_string(stages),
           type.name);
    }
    if (!type.ends_in_stream && plan.region.loss == reconstruct::Loss::kNextNorm) {
      fail(ErrorKind::kInvalidArgument,
           "`loss` next-norm needs regions that end in the residual stream; those of stage {} do not",
           type.name);
    }
  }
  if (plan.sensitivity && !plan.repair.automatic && !works_on_masks(stages)) {
    fail(ErrorKind::kInvalidArgument,
         "`sensitivity` changes how solve fits matrices, but the repair has no solve");
  }
}

std::vector<std::vector<Stage>> automatic_repairs() {
  return {{{.name = "solve"}, {.name = "sublayer"}, {.name = "model"}},
          {{.name = "solve"}, {.name = "sublayer"}}};
}

bool works_on_masks(const std::vector<Stage>& stages) {
  return !stages.empty() && type_of(stages.front()).scope == StageScope::kMasks;
}

bool is_local(const Stage& stage) { return type_of(stage).scope == StageScope::kRegions; }

bool is_global(const Stage& stage) { return type_of(stage).scope == StageScope::kModel; }

std::string random_name(const Stage& stage) {
  const std::string_view name = type_of(stage).random_name;
  return name.empty() ? to_string(stage) : std::string(name);
}

reconstruct::Trains trained_by(const Stage& stage) { return type_of(stage).trains.value(); }

PeakRate peak_rate(const CompressPlan& plan, const Stage& stage) {
  using reconstruct::RateUnit;
  const bool local = is_local(stage);
  const auto& rate = local ? plan.region.learning_rate : plan.model_stage.learning_rate;
  const auto& unit = local ? plan.region.rate_unit : plan.model_stage.rate_unit;
  // whoever names a rate took it from a recipe, and recipes mean Adam's own
  if (rate) return {.rate = *rate, .unit = unit.value_or(RateUnit::kAbsolute)};
  const StageType& type = type_of(stage);
  return {.rate = type.default_rate == nullptr ? 0 : type.default_rate(stage.blocks),
          .unit = RateUnit::kRelative};
}

int64_t default_epochs(const std::vector<Stage>& stages) {
  const auto any = [&](auto is) { return std::any_of(stages.begin(), stages.end(), is); };
  return any(is_local) && any(is_global) ? 1 : 2;
}

std::vector<StageSettings> settings_of(const CompressPlan& plan, const std::vector<Stage>& stages) {
  std::vector<StageSettings> settings;
  for (const Stage& stage : stages) {
    const StageType& type = type_of(stage);
    StageSettings one{.stage = stage, .scope = type.scope, .trains = type.trains};
    if (type.default_rate != nullptr) {
      const auto& epochs = type.scope == StageScope::kRegions ? plan.region.epochs : plan.model_stage.epochs;
      const PeakRate peak = peak_rate(plan, stage);
      one.learning_rate = peak.rate;
      one.rate_unit = peak.unit;
      one.epochs = epochs.value_or(default_epochs(stages));
    }
    settings.push_back(one);
  }
  return settings;
}

}  // namespace freelunch::pipeline
