#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/plan/options.h"
#include "freelunch/study/study_plan.h"

namespace freelunch::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

/// A study of one grid, as a JSON file.
std::vector<Cell> cells(const json& grid) {
  const fs::path file =
      fs::temp_directory_path() / ("study_options_test." + std::to_string(::getpid()) + ".json");
  const json study{{"models", {"m"}},
                   {"calibration", {{"text", "t.txt"}}},
                   {"evaluate", {{{"name", "e"}, {"text", "e.txt"}}}},
                   {"grid", {grid}}};
  std::ofstream(file) << study.dump();
  std::vector<Cell> all;
  try {
    all = read_study(file, {}).cells;
  } catch (const Error&) {
    fs::remove(file);
    throw;
  }
  fs::remove(file);
  return all;
}

TEST(StudyOptions, EveryNumberOfACellIsCheckedAndNamedAsInTheFile) {
  int options = 0;
  for (const pipeline::PlanOption& option : pipeline::plan_options()) {
    if (!varies_in_study(option) || !option.range) continue;
    ++options;
    std::string key(option.name);
    std::replace(key.begin(), key.end(), '-', '_');
    const bool integer = option.kind == pipeline::ValueKind::kInteger;
    const double below = option.range->least - 1;
    const double above = option.range->most + 1;
    for (const json& bad : {integer ? json(static_cast<int64_t>(below)) : json(below),
                            integer ? json(static_cast<int64_t>(above)) : json(above), json(""), json("x")}) {
      try {
        cells({{"repair", "solve"}, {key, bad}});
        ADD_FAILURE() << key << " " << bad;
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
        EXPECT_NE(std::string(error.what()).find("'" + key + "' is"), std::string::npos) << error.what();
      }
    }
  }
  EXPECT_GT(options, 10);
}

TEST(StudyOptions, ASettingThatIsNotTheDefaultMakesAnotherCell) {
  const std::string usual = cells({{"repair", "solve,sublayer,lora"}}).at(0).id;
  const json changes{{"sparsity", 0.6},    {"rule", {{"2:4=*mlp*"}}}, {"lora_alpha", 8},   {"grid_rows", 12},
                     {"iterations", 7},    {"model_batch", 2},        {"held_out", 3},     {"lines", true},
                     {"windows", "crop"},  {"statistics", "dense"},   {"lambda", {{0.5}}}, {"loss", "mse"},
                     {"model_loss", "ce"}, {"freeze_norms", true},    {"seed", 3},         {"batch", 2}};
  for (const auto& [key, value] : changes.items())
    EXPECT_NE(cells({{"repair", "solve,sublayer,lora"}, {key, value}}).at(0).id, usual) << key;
  EXPECT_EQ(cells({{"repair", "solve,sublayer,lora"}, {"lora_alpha", 32}}).at(0).id, usual);
}

}  // namespace
}  // namespace freelunch::study
