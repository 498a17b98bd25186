#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "freelunch/descent/trainable_tensor.h"

namespace freelunch::pipeline {

/// One stage of a repair, as a value. What stages exist and what each does is a table in pipeline/stages,
/// which this folder does not know.
struct Stage {
  std::string name;    ///< "solve", "sublayer", "block", ...
  int64_t blocks = 1;  ///< consecutive blocks in a region: the K of "blocks:K"
  bool operator==(const Stage&) const = default;
};
/// "solve", "block", or "blocks:3": the syntax of parse_repair.
std::string to_string(const Stage& stage);
/// "solve,blocks:3", or "none" without stages.
std::string to_string(const std::vector<Stage>& stages);

/// The stages of a repair, each starting from the weights that the previous one produced.
struct Repair {
  bool automatic = false;     ///< the planner chooses the stages
  std::vector<Stage> stages;  ///< none: prune only
};
/// Reads "auto", "none", or a list of stages separated by commas. "NAMEs:K" is stage NAME with regions of K
/// blocks; "half" is accepted for "sublayer". This is syntax alone: check_repair (pipeline/stages/stage.h)
/// checks the names. Throws InvalidArgument for an empty list, a trailing comma, a repeated stage, or a count
/// that is not a positive integer.
Repair parse_repair(const std::string& text);

/// What a stage works on.
enum class StageScope {
  kMasks,    ///< one matrix after the other, while its mask is chosen
  kRegions,  ///< one region after the other, by gradient descent
  kModel     ///< the whole model at once, by gradient descent
};

/// A stage with the settings that a run uses for it, defaults filled in.
struct StageSettings {
  Stage stage;
  StageScope scope = StageScope::kRegions;
  std::optional<reconstruct::Trains> trains;  ///< kModel: which parameters
  double learning_rate = 0;                   ///< peak; 0 without descent
  reconstruct::RateUnit rate_unit = reconstruct::RateUnit::kRelative;
  int64_t epochs = 0;  ///< 0 without descent
};

}  // namespace freelunch::pipeline
