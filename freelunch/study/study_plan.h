#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "freelunch/evaluate/choice_task.h"
#include "freelunch/plan/option.h"
#include "freelunch/plan/plan.h"

namespace freelunch::study {

/// A text on which the perplexity of every cell is measured.
struct Evaluation {
  std::string name;
  pipeline::EvaluationOptions options;
};

/// One run of a study.
struct Cell {
  std::string grid;  ///< name of the first grid of the file that contains it
  pipeline::CompressPlan plan;
  /// The settings that have an effect on this cell, and no others. Cells with equal settings are one cell.
  nlohmann::json settings;
  std::string
      id;  ///< its file name, such as "wanda-50-solve+sublayer-0f3a..."; ends in a digest of `settings`
};

/// The content of a study file: grids of settings, with a cell for each combination (docs/methods/study.md).
struct StudyPlan {
  std::vector<Evaluation> evaluations;
  std::vector<evaluate::ChoiceTask> tasks;
  std::optional<int64_t> task_limit;
  std::vector<Cell> cells;  ///< in the order of the file, without duplicates
};

/// Reads a .toml or .json study file; paths in it are relative to its folder. All cells run on `compute`.
/// Throws BadFile for a syntax error, InvalidArgument for an unknown key, and for a combination that cannot
/// run, naming the cell.
StudyPlan read_study(const std::filesystem::path& path, const backend::ComputeOptions& compute);

/// Whether a [[grid]] can vary the option: those of pruning, structure, calibration and repair that change
/// the result, and the seed. Its key is the option's name with _ for -.
bool varies_in_study(const pipeline::OptionFacts& option);

/// A digest of all settings that decide a cell's weights after the choice of masks (`solve` included) and the
/// next `stages` stages, default learning rates included. Cells with equal keys share the work.
std::string prefix_key(const Cell& cell, size_t stages);
/// Everything that decides a cell's calibration windows: the text, the options of calibration and the seed.
std::string windows_key(const Cell& cell);
/// The peak learning rate of each stage after the choice of masks, by the name of the stage. Cell::settings
/// holds only rates that the study file names; defaults may change with the version, so a result records the
/// rates it was run with and is outdated when they differ.
nlohmann::json learning_rates(const Cell& cell);
/// The number of stages after the choice of masks.
size_t stages_after_masks(const Cell& cell);

/// A hash of a text, as 16 hexadecimal digits, for names of files; not cryptographic.
std::string digest(const std::string& text);

}  // namespace freelunch::study
