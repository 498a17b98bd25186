#include "freelunch/study/results.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "freelunch/study/json_files.h"
#include "freelunch/study/study_records.h"

namespace freelunch::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kStudy = R"(
models = ["m"]
[calibration]
text = "t.txt"
[[evaluate]]
name = "e, f"
text = "e.txt"
[tasks]
files = ["boolq.jsonl"]
[[grid]]
name = "g"
repair = ["none", "sublayer"]
seed = [0, 1]
)";

class ResultsTest : public ::testing::Test {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("results_test." + std::to_string(::getpid()));
  StudyPlan study_;

  void SetUp() override {
    for (const char* part : {"cells", "dense"}) fs::create_directories(folder_ / part);
    std::ofstream(folder_ / "s.toml") << kStudy;
    study_ = read_study(folder_ / "s.toml", {});
    ASSERT_EQ(study_.cells.size(), 3U);  // none draws from no seed
  }
  void TearDown() override { fs::remove_all(folder_); }

  static Measurements measured(double perplexity, double acc) {
    return {.figures = {{"e, f", {.perplexity = perplexity, .tokens = 20, .windows = 2, .length = 10}}},
            .tasks = {{"boolq", {.examples = 7, .acc = acc, .acc_norm = acc / 2}}}};
  }
  static CellRecord record(const Cell& cell, double perplexity, double seconds) {
    return {.id = cell.id,
            .grid = "the grid's name when it ran",
            .settings = cell.settings,
            .measured = measured(perplexity, 0.5),
            .stages = {{.name = "prune", .seconds = seconds, .peak_bytes = 3000000000},
                       {.name = "sublayer", .seconds = 2, .peak_bytes = 1000000000}},
            .held_out_error = {{"sublayer", 0.75}},
            .sparsity = 0.5};
  }
  fs::path path(const Cell& cell) const { return folder_ / "cells" / (cell.id + ".json"); }
  void write_dense() const {
    write_json(folder_ / "dense" / (digest("m") + ".json"),
               DenseRecord{.model = "m", .measured = measured(20, 0.75)});
  }
  std::string text_of(const char* file) const {
    std::stringstream text;
    text << std::ifstream(folder_ / file).rdbuf();
    return text.str();
  }
};

TEST_F(ResultsTest, CellsThatDifferInTheirSeedAreOneRowWithMeanAndDeviation) {
  write_dense();
  write_json(path(study_.cells[0]), record(study_.cells[0], 40, 1));
  write_json(path(study_.cells[1]), record(study_.cells[1], 25, 4));
  write_json(path(study_.cells[2]), record(study_.cells[2], 27, 6));
  const json results = collect_results(study_, folder_);
  ASSERT_EQ(results["rows"].size(), 2U);
  const json& row = results["rows"][1];
  EXPECT_EQ(row["grid"], "g");
  EXPECT_EQ(row["label"], "sublayer");
  EXPECT_EQ(row["seeds"], json::array({0, 1}));
  const json& figure = row["figures"]["e, f"];
  EXPECT_DOUBLE_EQ(figure["mean"].get<double>(), 26);
  EXPECT_DOUBLE_EQ(figure["deviation"].get<double>(), std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(figure["gap_closed"].get<double>(), std::log(40.0 / 26) / std::log(40.0 / 20));
  EXPECT_DOUBLE_EQ(row["seconds"]["mean"].get<double>(), 7);
  EXPECT_EQ(row["peak_bytes"], 3000000000);
  EXPECT_DOUBLE_EQ(row["tasks"]["boolq"]["acc_norm"]["mean"].get<double>(), 0.25);
  EXPECT_TRUE(results["rows"][0]["figures"]["e, f"]["deviation"].is_null());
  EXPECT_EQ(results["dense"][0]["figures"]["e, f"]["perplexity"], 20);
}

TEST_F(ResultsTest, WritesTablesWithALineForEachRow) {
  write_dense();
  write_json(path(study_.cells[0]), record(study_.cells[0], 40, 1));
  write_json(path(study_.cells[1]), record(study_.cells[1], std::nan(""), 4));
  write_results(study_, folder_);
  const std::string csv = text_of("results.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 3);
  EXPECT_THAT(csv, HasSubstr("\"e, f\",\"e, f deviation\",\"e, f gap closed\",boolq acc,boolq acc_norm\n"));
  EXPECT_THAT(csv, HasSubstr(",3.0,3000000000,40.00000,,"));
  EXPECT_THAT(csv, HasSubstr(",6.0,3000000000,,,,0.50000,0.25000\n"));  // no perplexity: it was not finite
  const std::string markdown = text_of("results.md");
  EXPECT_THAT(markdown, HasSubstr("Dense m: e, f 20.000 (2 windows of 10), boolq 0.7500\n"));
  EXPECT_THAT(markdown, HasSubstr("| wanda | 50% | none |"));
  EXPECT_THAT(markdown, HasSubstr("| 40.00 |"));
  EXPECT_THAT(text_of("study.html"), HasSubstr("\"label\":\"sublayer\""));
}

TEST_F(ResultsTest, CellsThatFailedAreListedAndTornFilesCountAsMissing) {
  write_json(path(study_.cells[0]), FailedCellRecord{.id = "x", .settings = {}, .error = "not finite"});
  const std::string whole = json(record(study_.cells[1], 25, 4)).dump();
  std::ofstream(path(study_.cells[1])) << whole.substr(0, whole.size() / 2);
  json other = record(study_.cells[2], 25, 4);
  other["figures"]["e, f"] = "25";
  write_json(path(study_.cells[2]), other);
  const json results = collect_results(study_, folder_);
  EXPECT_TRUE(results["rows"].empty());
  ASSERT_EQ(results["failed"].size(), 1U);
  EXPECT_EQ(results["failed"][0]["error"], "not finite");
}

TEST_F(ResultsTest, ReadsCellsWhoseStagesHaveNoOptionalKeys) {
  json written = record(study_.cells[1], 25, 4);
  ASSERT_EQ(written["stages"][0],
            json::parse(R"({"name": "prune", "seconds": 4.0, "peak_bytes": 3000000000})"));
  write_json(path(study_.cells[1]), written);
  EXPECT_EQ(collect_results(study_, folder_)["rows"].size(), 1U);
}

}  // namespace
}  // namespace freelunch::study
