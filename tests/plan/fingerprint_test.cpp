#include "freelunch/plan/fingerprint.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "freelunch/pipeline/stages/stage.h"
#include "option_examples.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

json fingerprint_of(const CompressPlan& plan) { return fingerprint(plan, backend::Compute{}, {}); }

TEST(Fingerprint, DiffersExactlyIfAnOptionThatChangesTheResultDoes) {
  const json initial = fingerprint_of({});
  for (const PlanOption& option : plan_options()) {
    if (option.group == "Machine") continue;  // stated as resolved, below
    const json other = fingerprint_of(plan_with(option));
    EXPECT_EQ(other != initial, option.effect == Effect::kResult) << option.name;
  }
}

TEST(Fingerprint, HasTheDeviceAndDtypeThatAutoBecame) {
  const json cpu = fingerprint({}, {.device = at::kCPU, .dtype = at::kBFloat16}, {});
  EXPECT_EQ(cpu["option"]["`device`"], "cpu");
  EXPECT_EQ(cpu["option"]["`compute`"], "bf16");
  CompressPlan same;
  same.compute = {.device = "cpu", .compute = "bf16", .threads = 0};
  EXPECT_EQ(fingerprint(same, {.device = at::kCPU, .dtype = at::kBFloat16}, {}), cpu);
}

TEST(Fingerprint, DiffersIfAnInputDoes) {
  EXPECT_NE(fingerprint({}, {}, {.model = {{"m", "ab"}}, .dense = {}, .calibration = "", .evaluation = ""}),
            fingerprint({}, {}, {.model = {{"m", "cd"}}, .dense = {}, .calibration = "", .evaluation = ""}));
}

TEST(PlanOfAReport, NamesTheOptionsThatApplyWithWhatTheyBecame) {
  CompressPlan plan{.model = "m", .output = "o"};
  plan.calibration.text = "folder/text.jsonl";
  const std::vector<Stage> stages = parse_repair("solve,sublayer").stages;
  const json object = plan_json(plan, settings_of(plan, stages), {.device = at::kCPU, .dtype = at::kFloat});
  EXPECT_EQ(object["repair"], json({"solve", "sublayer"}));
  EXPECT_EQ(object["calibration"], "text.jsonl");
  EXPECT_EQ(object["sparsity"], 0.5);
  EXPECT_EQ(object["compute"], "fp32");
  EXPECT_EQ(object["epochs"], 2);
  EXPECT_DOUBLE_EQ(object["learning-rate"].get<double>(), peak_rate(plan, {"sublayer"}).rate);
  EXPECT_EQ(object["rate-unit"], "relative");
  EXPECT_TRUE(object.contains("lambda"));
  for (const char* absent : {"pattern", "model-batch", "lora-rank", "evaluate-length", "output", "restart"})
    EXPECT_FALSE(object.contains(absent)) << absent;
}

}  // namespace
}  // namespace freelunch::pipeline
