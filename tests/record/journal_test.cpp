#include "freelunch/record/journal.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <fstream>

#include "freelunch/base/error.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;
using model::TensorFile;
using nlohmann::json;
using ::testing::HasSubstr;

/// One process of a run: what it finds, and what it leaves when it is dropped.
struct Process {
  TensorFile scratch;
  RunReport report;
  Journal journal;
  explicit Process(const fs::path& folder, const json& fingerprint = {{"option", {{"`seed`", 0}}}})
      : scratch(folder / "weights.scratch", TensorFile::Lifetime::kFolder),
        journal(folder, fingerprint, scratch, report, std::chrono::seconds(0)) {}

  void region(const std::string& name, double value) {
    scratch.put(name, at::full({8}, value));
    report.regions.push_back({.stage = "sublayer", .region = name, .outcome = {.after = value}});
    journal.commit(name);
  }
  void end(const std::string& stage) {
    report.stages.push_back({.name = stage, .seconds = 1});
    journal.end();
  }
  double value(const std::string& name) const { return scratch.get(name)[0].item<double>(); }
};

class JournalTest : public ::testing::Test {
 protected:
  fs::path folder_ = fs::temp_directory_path() / ("journal_test." + std::to_string(::getpid()));
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }

  void damage(const TensorFile::Entry& entry) const {
    std::fstream file(folder_ / "weights.scratch", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(entry.offset + 3);
    file.put('\x55');
  }
};

TEST_F(JournalTest, RemembersNothingWithoutAFile) {
  Journal journal;
  journal.begin("sublayer");
  journal.commit("a");
  EXPECT_FALSE(journal.done("a"));
  EXPECT_FALSE(journal.due());
  EXPECT_FALSE(journal.has_progress());
  EXPECT_EQ(journal.choice("x", [] { return 3; }), 3);
}

TEST_F(JournalTest, PutsStoreAndReportBackToTheLastCommit) {
  {
    Process first(folder_);
    EXPECT_FALSE(first.journal.has_progress());
    first.journal.begin("solve");
    first.region("a", 1);
    first.report.tensors.push_back({.name = "expert", .shape = {2, 4}, .elements = 8, .tokens = 17});
    first.report.allocation = {0.25, 0.75};
    first.report.dense = evaluate::Perplexity{.perplexity = 7, .tokens = 1, .windows = 2, .length = 3};
    first.end("solve");
    first.journal.begin("sublayer");
    first.region("a", 2);
    first.region("b", 3);
    first.scratch.put("b", at::full({8}, 99.0));  // the process dies here
    first.scratch.put("c", at::full({8}, 99.0));
    first.report.regions.push_back({.stage = "sublayer", .region = "c"});
  }
  Process again(folder_);
  EXPECT_TRUE(again.journal.has_progress());
  EXPECT_TRUE(again.journal.finished("solve"));
  EXPECT_FALSE(again.journal.finished("sublayer"));
  again.journal.begin("sublayer");
  EXPECT_TRUE(again.journal.done("a"));
  EXPECT_TRUE(again.journal.done("b"));
  EXPECT_FALSE(again.journal.done("c"));
  EXPECT_EQ(again.value("a"), 2);
  EXPECT_EQ(again.value("b"), 3);
  EXPECT_FALSE(again.scratch.has("c"));
  ASSERT_EQ(again.report.regions.size(), 3U);
  EXPECT_EQ(again.report.regions[2].outcome.after, 3);
  ASSERT_EQ(again.report.tensors.size(), 1U);
  EXPECT_EQ(again.report.tensors[0].tokens, 17);
  EXPECT_EQ(again.report.allocation, (std::vector<double>{0.25, 0.75}));
  EXPECT_EQ(again.report.dense->perplexity, 7);
  ASSERT_EQ(again.report.stages.size(), 1U);
  again.region("c", 4);
  again.end("sublayer");
  EXPECT_GE(again.report.stages.back().seconds, 1);
  Process last(folder_);
  EXPECT_TRUE(last.journal.finished("sublayer"));
  EXPECT_EQ(last.report.regions.size(), 4U);
  EXPECT_EQ(last.report.stages.size(), 2U);
}

TEST_F(JournalTest, KeepsPositionsUntilTheirStageEnds) {
  {
    Process first(folder_);
    first.journal.begin("model");
    EXPECT_FALSE(first.journal.position());
    EXPECT_TRUE(first.journal.due());
    for (int step = 1; step < 5; ++step) {
      first.scratch.put("state", at::full({8}, static_cast<double>(step)));
      first.journal.commit_position({{"step", step}});
    }
    first.scratch.put("state", at::full({8}, 99.0));
  }
  Process again(folder_);
  again.journal.begin("model");
  ASSERT_TRUE(again.journal.position());
  EXPECT_EQ(again.journal.position()->at("step"), 4);
  EXPECT_EQ(again.value("state"), 4);
  again.journal.begin("lora");
  EXPECT_FALSE(again.journal.position());
}

TEST_F(JournalTest, ADamagedTensorCostsItsRegionAndWhatCameAfter) {
  TensorFile::Entry last, earlier;
  {
    Process first(folder_);
    first.journal.begin("solve");
    for (const char* name : {"a", "b", "c"}) first.region(name, 1);
    first.end("solve");
    first.journal.begin("sublayer");
    first.region("a", 2);
    first.scratch.put("b", at::full({8}, 2.0));
    earlier = first.scratch.flush().written.at("b");
    first.journal.commit("b");
    first.scratch.put("c", at::full({8}, 2.0));
    last = first.scratch.flush().written.at("c");
    first.journal.commit("c");
  }
  damage(last);
  {
    Process again(folder_);
    again.journal.begin("sublayer");
    EXPECT_TRUE(again.journal.done("b"));
    EXPECT_FALSE(again.journal.done("c"));
    EXPECT_EQ(again.value("c"), 1);  // as solve left it
    again.region("c", 2);
  }
  damage(earlier);
  Process again(folder_);
  again.journal.begin("sublayer");
  EXPECT_TRUE(again.journal.done("a"));
  EXPECT_FALSE(again.journal.done("b"));
  EXPECT_FALSE(again.journal.done("c"));
  EXPECT_EQ(again.value("a"), 2);
  EXPECT_EQ(again.value("b"), 1);
  EXPECT_EQ(again.value("c"), 1);
}

TEST_F(JournalTest, AVersionThatWasRenamedIsNotOverwrittenByALaterProcess) {
  {
    Process first(folder_);
    first.journal.begin("sublayer");
    first.region("a", 1);
    first.scratch.rename("a", "former a");
    first.region("a", 2);
  }
  {
    Process again(folder_);
    again.journal.begin("sublayer");
    again.region("a", 3);
    EXPECT_EQ(again.value("former a"), 1);
    again.scratch.rename("former a", "a");
    again.end("sublayer");
  }
  Process last(folder_);
  EXPECT_EQ(last.value("a"), 1);
  EXPECT_FALSE(last.scratch.has("former a"));
  last.journal.begin("block");
  last.region("a", 4);
  EXPECT_EQ(last.value("a"), 4);
  EXPECT_EQ(fs::file_size(folder_ / "weights.scratch"), 3U * 8 * 4);  // two versions, and the former one
}

TEST_F(JournalTest, StartsOverWhereTheScratchFileIsGone) {
  {
    Process first(folder_);
    first.journal.begin("solve");
    first.region("a", 1);
  }
  fs::remove(folder_ / "weights.scratch");
  Process again(folder_);
  EXPECT_FALSE(again.journal.has_progress());
  EXPECT_TRUE(again.report.regions.empty());
}

TEST_F(JournalTest, AChoiceIsMadeOnce) {
  {
    Process first(folder_);
    EXPECT_EQ(first.journal.choice("repair", [] { return json::array({"sublayer"}); }),
              json::array({"sublayer"}));
  }
  Process again(folder_);
  EXPECT_EQ(again.journal.choice("repair", [] { return json::array({"model"}); }), json::array({"sublayer"}));
}

TEST_F(JournalTest, RefusesAnotherRunAndSaysWhatDiffers) {
  const auto message = [&](const json& fingerprint) -> std::string {
    try {
      Process other(folder_, fingerprint);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
      return error.what();
    }
    return "";
  };
  const json mine{{"option", {{"`seed`", 0}, {"--rule", json::array()}}},
                  {"sha256 of the model's", {{"m", "ab"}}}};
  EXPECT_EQ(message(mine), "");
  EXPECT_EQ(message(mine), "");
  json other = mine;
  other["option"]["`seed`"] = 7;
  EXPECT_THAT(message(other), HasSubstr("option `seed` was 0, is 7"));
  EXPECT_THAT(message(other), HasSubstr("`restart`"));
  other = mine;
  other["sha256 of the model's"]["m"] = "cd";
  EXPECT_THAT(message(other), HasSubstr("sha256 of the model's m was \"ab\", is \"cd\""));
  other = mine;
  other["sha256 of the model's"].erase("m");
  EXPECT_THAT(message(other), HasSubstr("is missing"));
  EXPECT_EQ(message(mine), "");  // a refusal leaves the run as it was
}

TEST_F(JournalTest, RefusesRecordsOfAnotherKind) {
  {
    checkpoint::JournalFile file(folder_ / "journal.jsonl");
    file.append({{"fingerprint", {{"option", {{"`seed`", 0}}}}}});
    file.append({{"stage", 3}});
  }
  try {
    Process process(folder_);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadFile);
    EXPECT_THAT(error.what(), HasSubstr("`restart`"));
  }
}

}  // namespace
}  // namespace freelunch::pipeline
