#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "freelunch/evaluate/choice_task.h"
#include "freelunch/plan/option.h"
#include "freelunch/plan/plan.h"

namespace freelunch::study {

/// One text that every cell is measured on.
struct Evaluation {
  std::string name;
  pipeline::EvaluationOptions options;
};

/// One run of the grid: what is done to a model, under which settings.
struct Cell {
  std::string grid;  ///< the name of the grid that asked for it first
  pipeline::CompressPlan plan;
  /// The settings that matter to this cell, and no others: cells are the same if these are.
  nlohmann::json settings;
  /// "wanda-50-solve,sublayer-0f3a...": a file name that says what it is.
  std::string id;
};

/// A study file: the product of lists, one cell for each combination (docs/methods/study.md).
struct StudyPlan {
  std::vector<Evaluation> evaluations;
  std::vector<evaluate::ChoiceTask> tasks;
  std::optional<int64_t> task_limit;
  std::vector<Cell> cells;  ///< in the order of the file, each once
};

/// Reads a .toml or .json study file; paths in it are relative to its folder. Throws BadFile for what cannot
/// be parsed, InvalidArgument for unknown keys and for combinations that cannot run, naming the cell.
StudyPlan read_study(const std::filesystem::path& path, const backend::ComputeOptions& compute);

/// Whether a [[grid]] can vary the option: those of pruning, calibration and repair that change the result,
/// and the seed. Its key is the option's name with _ for -.
bool varies_in_study(const pipeline::OptionFacts& option);

/// The settings that decide what a cell's weights are after choosing masks and the first `stages` stages
/// after that (solve belongs to choosing masks), the learning rates that follow from the width of the
/// residual stream included. Cells with equal keys share the work.
std::string prefix_key(const Cell& cell, size_t stages, int64_t width);
/// The peak learning rate of each stage that follows the choice of masks, by the stage's name. A cell's
/// settings hold only those that the study asks for; what it was run with belongs to its result, which is
/// out of date once the defaults are others.
nlohmann::json learning_rates(const Cell& cell, int64_t width);
/// How many stages follow the choice of masks.
size_t stages_after_masks(const Cell& cell);

/// 16 hexadecimal digits.
std::string digest(const std::string& text);

}  // namespace freelunch::study
