#include "freelunch/study/cell_states.h"

#include "freelunch/base/error.h"
#include "freelunch/record/report_state.h"
#include "freelunch/study/json_files.h"

namespace freelunch::study {

namespace fs = std::filesystem;
using pipeline::RunContext;
using pipeline::RunReport;

void CellStates::save(const std::string& key, const RunContext& run) const {
  run.scratch.save(weights_path(key));
  write_json(report_path(key), pipeline::additions(run.report, {}));  // last: load() looks for it first
}

bool CellStates::load(const std::string& key, RunContext& run) const {
  RunReport report = run.report;
  try {
    pipeline::append(report, read_json(report_path(key)));
    run.scratch.load(weights_path(key));
  } catch (const nlohmann::json::exception&) {
    return false;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kBadFile) throw;
    return false;
  }
  run.report = std::move(report);
  return true;
}

void CellStates::remove_others(const std::set<std::string>& keys) const {
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (!keys.contains(name.substr(0, name.find('.')))) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove(path);
}

}  // namespace freelunch::study
