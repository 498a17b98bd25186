#include "freelunch/planner/budget.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace freelunch::pipeline {

const StageBudget& Budget::peak() const {
  return *std::max_element(stages.begin(), stages.end(),
                           [](const StageBudget& a, const StageBudget& b) { return a.bytes() < b.bytes(); });
}

int64_t Budget::host() const {
  int64_t most = 0;
  for (const StageBudget& stage : stages) most = std::max(most, stage.host);
  return most;
}

int64_t Budget::disk() const {
  int64_t most = 0;
  for (const StageBudget& stage : stages) most = std::max(most, stage.disk);
  return scratch + most;
}

const StageBudget* Budget::find(const std::string& stage) const {
  const auto it =
      std::find_if(stages.begin(), stages.end(), [&](const StageBudget& s) { return s.name == stage; });
  return it == stages.end() ? nullptr : &*it;
}

nlohmann::json to_json(const Budget& budget) {
  using nlohmann::json;
  json stages = json::array();
  double operations = 0;
  double seconds = 0;
  for (const StageBudget& stage : budget.stages) {
    stages.push_back({{"name", stage.name},
                      {"bytes", stage.bytes()},
                      {"runtime", stage.runtime},
                      {"weights", stage.weights},
                      {"optimiser", stage.optimiser},
                      {"activations", stage.activations},
                      {"statistics", stage.statistics},
                      {"workspace", stage.workspace},
                      {"host", stage.host},
                      {"disk", stage.disk},
                      {"operations", stage.operations},
                      {"seconds", stage.seconds}});
    operations += stage.operations;
    seconds += stage.seconds;
  }
  return {{"stages", stages},
          {"peak_bytes", budget.stages.empty() ? 0 : budget.peak().bytes()},
          {"disk_bytes", budget.disk()},
          {"operations", operations},
          {"seconds", seconds}};
}

}  // namespace freelunch::pipeline
