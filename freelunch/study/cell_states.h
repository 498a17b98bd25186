#pragma once
#include <filesystem>
#include <set>
#include <string>

#include "freelunch/pipeline/run_context.h"

namespace freelunch::study {

/// The folder cache/ of a study: states of runs after their masks were chosen or after a stage, by the key of
/// the settings that led there (prefix_key). Later cells start from them.
class CellStates {
 public:
  explicit CellStates(std::filesystem::path folder) : folder_(std::move(folder)) {}

  /// Saves the weights, the masks and the report of a run.
  void save(const std::string& key, const pipeline::RunContext& run) const;
  /// Puts a run into a saved state. Returns false, and leaves the report as it is, if there is none, or if it
  /// is torn or of another version.
  bool load(const std::string& key, pipeline::RunContext& run) const;
  /// Removes all states but those with these keys.
  void remove_others(const std::set<std::string>& keys) const;

 private:
  std::filesystem::path weights_path(const std::string& key) const { return folder_ / key; }
  std::filesystem::path report_path(const std::string& key) const { return folder_ / (key + ".report.json"); }

  std::filesystem::path folder_;
};

}  // namespace freelunch::study
