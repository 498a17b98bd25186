#include "freelunch/study/study_plan.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "freelunch/base/error.h"

namespace freelunch::study {
namespace {

namespace fs = std::filesystem;

constexpr const char* kHead = R"(
models = ["m"]
[calibration]
text = "t.txt"
samples = 8
[[evaluate]]
name = "e"
text = "e.txt"
)";

class StudyPlanTest : public ::testing::Test {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("study_plan_test." + std::to_string(::getpid()));
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  std::vector<Cell> cells(const std::string& grids) {
    std::ofstream(folder_ / "s.toml") << kHead << grids;
    return read_study(folder_ / "s.toml", {}).cells;
  }
};

TEST_F(StudyPlanTest, MakesOneCellForEachCombinationAndNoneTwice) {
  EXPECT_EQ(cells("[[grid]]\nrepair = ['none', 'sublayer']\npattern = ['50%', '2:4']\nseed = [0, 1]").size(),
            6U);  // masks of wanda draw from no seed: none counts once a pattern
  EXPECT_EQ(cells("[[grid]]\nrepair = 'sublayer'\n[[grid]]\nrepair = ['sublayer', 'block']").size(), 2U);
  EXPECT_EQ(cells("[[grid]]\nrepair = 'none'\nlearning_rate = [1e-3, 2e-3]").size(), 1U);
  EXPECT_EQ(cells("[[grid]]\nrepair = 'solve'\nblend = [[0.0], [0.0, 0.5]]").size(), 2U);
  EXPECT_EQ(cells("[[grid]]\nrepair = 'solve'\nblend = [0.0, 0.5]").size(), 1U);
  EXPECT_EQ(cells("[[grid]]\ncriterion = 'random'\nrepair = 'none'\nseed = [0, 1, 2]").size(), 3U);
}

TEST_F(StudyPlanTest, SharesPrefixesThatAreEqualAndOnlyThose) {
  const auto all = cells(
      "[[grid]]\nrepair = ['solve', 'solve,sublayer', 'solve,sublayer,model', 'sublayer', "
      "'solve,block']\nlearning_rate "
      "= 1e-3\nepochs = 1");
  ASSERT_EQ(all.size(), 5U);
  EXPECT_EQ(prefix_key(all[0], 0), prefix_key(all[2], 0));
  EXPECT_EQ(prefix_key(all[1], 1), prefix_key(all[2], 1));
  EXPECT_NE(prefix_key(all[0], 0), prefix_key(all[3], 0));  // solve chooses its masks on another stream
  EXPECT_NE(prefix_key(all[1], 1), prefix_key(all[4], 1));
  EXPECT_EQ(prefix_key(all[4], 0), prefix_key(all[0], 0));
  const auto rates = cells("[[grid]]\nrepair = 'sublayer'\nlearning_rate = [1e-3, 2e-3]");
  EXPECT_NE(prefix_key(rates[0], 1), prefix_key(rates[1], 1));
  EXPECT_EQ(prefix_key(rates[0], 0), prefix_key(rates[1], 0));
  // by default regions are trained twice where they alone are
  const auto usual = cells("[[grid]]\nrepair = ['solve,sublayer', 'solve,sublayer,model']");
  EXPECT_NE(prefix_key(usual[0], 1), prefix_key(usual[1], 1));
  const auto seeds = cells("[[grid]]\nrepair = 'solve,sublayer'\nseed = [0, 1]");
  EXPECT_EQ(prefix_key(seeds[0], 0), prefix_key(seeds[1], 0));
  EXPECT_NE(prefix_key(seeds[0], 1), prefix_key(seeds[1], 1));
  const auto sizes = cells("[[grid]]\nrepair = 'solve'\nsamples = [8, 16]");
  EXPECT_NE(prefix_key(sizes[0], 0), prefix_key(sizes[1], 0));
}

TEST_F(StudyPlanTest, CellsHaveTheSameWindowsIfEveryOptionOfCalibrationIsTheSame) {
  const auto differ = [&](const std::string& option) {
    const auto two = cells("[[grid]]\nrepair = 'sublayer'\n" + option);
    return two.size() == 2 && windows_key(two[0]) != windows_key(two[1]);
  };
  EXPECT_TRUE(differ("bos = ['always', 'never']"));
  EXPECT_TRUE(differ("field = ['text', 'content']"));
  EXPECT_TRUE(differ("windows = ['consecutive', 'crop']"));
  EXPECT_TRUE(differ("lines = [true, false]"));
  EXPECT_TRUE(differ("samples = [4, 8]"));
  EXPECT_TRUE(differ("length = [64, 128]"));
  EXPECT_TRUE(differ("held_out = [4, 8]"));
  EXPECT_TRUE(differ("seed = [0, 1]"));
  EXPECT_FALSE(differ("learning_rate = [1e-3, 2e-3]"));
}

TEST_F(StudyPlanTest, SensitivityDampingMakesCellsOnlyWhereItCounts) {
  const auto all = cells(
      "[[grid]]\nrepair = 'solve'\nsensitivity = ['none', 'kronecker']\nsensitivity_damping = [0.1, 0.01]");
  ASSERT_EQ(all.size(), 3U);
  EXPECT_FALSE(all[0].settings["solve"].contains("sensitivity_damping"));
  EXPECT_FALSE(all[1].settings["solve"].contains("sensitivity_damping"));  // the default is not named
  EXPECT_EQ(all[2].settings["solve"]["sensitivity_damping"], 0.01);
  const auto masks = cells(
      "[[grid]]\nrepair = 'solve'\ngroup = 'matrix'\nsensitivity = 'kronecker'\nsensitivity_masks = [false, "
      "true]");
  ASSERT_EQ(masks.size(), 2U);
  EXPECT_NE(prefix_key(masks[0], 0), prefix_key(masks[1], 0));
}

TEST_F(StudyPlanTest, NamesAreStable) {
  const auto one = cells("[[grid]]\nrepair = 'solve,sublayer'\npattern = '2:4'");
  const auto again = cells("[[grid]]\nname = 'other'\npattern = '2:4'\nrepair = 'solve,sublayer'");
  EXPECT_EQ(one.at(0).id, again.at(0).id);
  EXPECT_TRUE(one.at(0).id.starts_with("wanda-2x4-solve+sublayer-")) << one.at(0).id;
}

TEST_F(StudyPlanTest, ReadsJsonAsToml) {
  const auto toml = cells("[[grid]]\nrepair = ['sublayer', 'model']");
  std::ofstream(folder_ / "s.json") << R"({"models": ["m"], "calibration": {"text": "t.txt", "samples": 8},
    "evaluate": [{"name": "e", "text": "e.txt"}], "grid": [{"repair": ["sublayer", "model"]}]})";
  const auto json = read_study(folder_ / "s.json", {}).cells;
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[1].id, toml[1].id);
}

TEST_F(StudyPlanTest, CharactersBeyondAsciiStandInQuotesOnly) {
  EXPECT_EQ(cells("# é 日本\n[[grid]]\nname = \"é \\\" é\"\nrepair = 'sublayer' # ü").size(), 1U);
  EXPECT_EQ(cells("[[grid]]\nname = '''é\né'''\nrepair = 'sublayer'").size(), 1U);
  for (const char* bad : {"[[grid]]\né = 1", "[[grid]]\nrepair = é", "[[grid]]\nname = 'a'é", "\uFDF2 = 1"}) {
    EXPECT_THROW(cells(bad), Error) << bad;
  }
  std::ofstream(folder_ / "mark.toml") << "\xEF\xBB\xBF";  // a byte order mark and no more
  EXPECT_THROW(read_study(folder_ / "mark.toml", {}), Error);
}

TEST_F(StudyPlanTest, RefusesWhatItDoesNotKnow) {
  for (const char* bad :
       {"[[grid]]\nrepairs = 'sublayer'", "[[grid]]\nrepair = []", "[[grid]]\nsamples = 'many'",
        "[[grid]]\nrepair = 'auto'", "[[grid]]\nsensitivity = 'fisher'\nrepair = 'solve'",
        "[[grid]]\nrepair = 'sublayer'\nsensitivity = 'kronecker'",
        "[[grid]]\nrepair = 'solve'\nsensitivity = 'kronecker'\nsensitivity_masks = true", "grid = 3\n",
        "[[grid]\n"}) {
    EXPECT_THROW(cells(bad), Error) << bad;
  }
  EXPECT_THROW(read_study(folder_ / "absent.toml", {}), Error);
  std::ofstream(folder_ / "s.yaml") << "x";
  EXPECT_THROW(read_study(folder_ / "s.yaml", {}), Error);
}

}  // namespace
}  // namespace freelunch::study
