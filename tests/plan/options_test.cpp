#include "freelunch/plan/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/pipeline/stages/stage.h"
#include "option_examples.h"

namespace freelunch::pipeline {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::string refusal(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    return error.what();
  }
  return "";
}

bool is_numeric(const PlanOption& option) { return option.range && option.kind != ValueKind::kBytes; }

TEST(Options, HaveANameAGroupAHelpAndIfNumericARange) {
  std::set<std::string_view> names;
  for (const PlanOption& option : plan_options()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_EQ(option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string_view::npos);
    EXPECT_FALSE(option.help.empty()) << option.name;
    EXPECT_FALSE(option.group.empty()) << option.name;
    const bool numeric = option.kind == ValueKind::kInteger || option.kind == ValueKind::kNumber ||
                         option.kind == ValueKind::kNumbers || option.kind == ValueKind::kFraction ||
                         option.kind == ValueKind::kBytes;
    EXPECT_EQ(option.range.has_value(), numeric) << option.name;
    EXPECT_EQ(option.choices.empty(), option.kind != ValueKind::kWord) << option.name;
  }
}

TEST(Options, ReadWhatTheyPrint) {
  for (const PlanOption& option : plan_options()) {
    const CompressPlan plan = plan_with(option);
    const json value = option.value(plan);
    EXPECT_NE(value, option.value(CompressPlan{})) << option.name;
    CompressPlan again;
    parse_option(again, option.name, text_of(value));
    EXPECT_EQ(option.value(again), value) << option.name;
    CompressPlan from_json;
    option.assign(from_json, checked(option, value));
    EXPECT_EQ(option.value(from_json), value) << option.name;
  }
}

TEST(Options, DefaultsAreReadAsTheyArePrinted) {
  for (const PlanOption& option : plan_options()) {
    const json value = option.value(CompressPlan{});
    if (value.is_null() || option.kind == ValueKind::kTexts) continue;
    CompressPlan plan;
    parse_option(plan, option.name, text_of(value));
    EXPECT_EQ(option.value(plan), value) << option.name;
  }
}

/// Each field of a plan by name, as a text that differs if the field does. A new field does not compile until
/// it is listed here; then the test below asks for its option.
std::map<std::string, std::string> fields_of(const CompressPlan& plan) {
  std::map<std::string, std::string> fields;
  const auto add = [&](const char* name, const auto& value) { fields[name] = json(value).dump(); };
  const auto add_optional = [&](const char* name, const auto& value) {
    fields[name] = value ? json(*value).dump() : "absent";
  };
  const auto& [model, live, in_place, dense, output, overwrite, saved_as, structure, pattern, group, rules,
               allocation, criterion, own_criterion, statistics, sensitivity, sensitivity_damping,
               sensitivity_masks, repair, guard, calibration, evaluation, grid, region, model_stage, compute,
               memory, seed, command, restart, commit_seconds, on_divergence] = plan;
  add("in memory", live != nullptr), add("in place", in_place);
  add("own criterion", own_criterion != nullptr);
  add("model", model.string()), add("dense", dense.string()), add("output", output.string());
  add("overwrite", overwrite), add("pattern", pattern ? sparsity::to_string(*pattern) : "absent"),
      add_optional("group", group);
  add("rules", rules.size()), add("allocation", allocation), add("criterion", criterion);
  add("statistics", statistics), add("sensitivity", sensitivity), add("damping", sensitivity_damping);
  add("masks", sensitivity_masks), add("repair", repair.automatic), add("guard", guard);
  add("seed", seed), add("command", command);
  add("restart", restart), add("commit seconds", commit_seconds), add("on divergence", on_divergence);
  {
    const auto& [shape, size, unit_criterion, expert_criterion, block_criterion] = structure;
    const auto& [mlp, kv_groups, heads, experts, blocks] = shape;
    add_optional("mlp", mlp), add_optional("kv groups", kv_groups), add_optional("heads", heads);
    add_optional("experts", experts), add_optional("size", size), add("unit criterion", unit_criterion);
    add("expert criterion", expert_criterion), add_optional("blocks", blocks);
    add("block criterion", block_criterion);
  }
  {
    const auto& [format, dtype, shard_bytes, plain_zeros] = saved_as;
    add("format", format), add_optional("dtype", dtype), add_optional("shards", shard_bytes);
    add("plain zeros", plain_zeros);
  }
  {
    const auto& [text, one_document_a_line, text_field, rule, bos, samples, length, held_out] = calibration;
    add("calibration text", text.string()), add("field", text_field);
    add("lines", one_document_a_line), add("windows", rule), add("bos", bos);
    add("samples", samples), add("length", length), add("held out", held_out);
  }
  {
    const auto& [text, text_field, length, windows, from_end] = evaluation;
    add("evaluation text", text.string()), add_optional("evaluated field", text_field);
    add_optional("evaluated length", length);
    add_optional("evaluated windows", windows), add("from end", from_end);
  }
  {
    const auto& [lambdas, blends, iterations, rows] = grid;
    add("lambdas", lambdas), add("blends", blends), add("iterations", iterations), add("rows", rows);
  }
  {
    const auto& [propagation, loss, learning_rate, rate_unit, epochs, batch, freeze_norms] = region;
    add("propagation", propagation), add("loss", loss), add_optional("rate", learning_rate);
    add_optional("rate unit", rate_unit);
    add_optional("epochs", epochs), add("batch", batch), add("freeze norms", freeze_norms);
  }
  {
    const auto& [loss, learning_rate, rate_unit, epochs, batch, lora] = model_stage;
    const auto& [rank, alpha] = lora;
    add("model loss", loss), add_optional("model rate", learning_rate), add_optional("model epochs", epochs);
    add_optional("model rate unit", rate_unit);
    add("model batch", batch), add("rank", rank), add("alpha", alpha);
  }
  {
    const auto& [device, dtype, threads] = compute;
    add("device", device), add("compute", dtype), add("threads", threads);
  }
  {
    const auto& [activations, activation_dtype, limit] = memory;
    add("activations", activations), add_optional("activation dtype", activation_dtype);
    add_optional("limit", limit);
  }
  return fields;
}

TEST(Options, SetEveryFieldButTheModelAndWhatOnlyACallerHas) {
  const auto initial = fields_of(CompressPlan{});
  std::set<std::string> unset;
  for (const auto& [name, value] : initial) unset.insert(name);
  for (const PlanOption& option : plan_options()) {
    std::string changed;
    for (const auto& [name, value] : fields_of(plan_with(option))) {
      if (value == initial.at(name)) continue;
      EXPECT_TRUE(changed.empty()) << option.name << " sets " << changed << " and " << name;
      changed = name;
      unset.erase(name);
    }
    EXPECT_FALSE(changed.empty()) << option.name << " sets nothing";
  }
  EXPECT_THAT(unset, UnorderedElementsAre("model", "command", "in memory", "in place", "own criterion"));
}

TEST(Options, RefuseNumbersOutsideTheirRangeFromTextAndFromJson) {
  for (const PlanOption& option : plan_options()) {
    if (!is_numeric(option)) continue;
    const double step = option.kind == ValueKind::kInteger ? 1 : 0.125;
    const bool integer = option.kind == ValueKind::kInteger;
    for (const double bad : {option.range->least - (option.range->least_excluded ? 0 : step),
                             option.range->most + (option.range->most_excluded ? 0 : step)}) {
      const json value = integer ? json(static_cast<int64_t>(bad)) : json(bad);
      CompressPlan plan;
      EXPECT_THAT(refusal([&] { parse_option(plan, option.name, text_of(value)); }),
                  HasSubstr(field_name(option.name) + " is " + text_of(value) + ", expected"));
      EXPECT_THAT(refusal([&] { checked(option, value); }), HasSubstr(field_name(option.name)));
    }
    for (const char* bad : {"nan", "inf", "-inf", "", "x", "1x", "99999999999999999999999"}) {
      CompressPlan plan;
      EXPECT_THAT(refusal([&] { parse_option(plan, option.name, bad); }), HasSubstr(field_name(option.name)))
          << bad;
    }
  }
}

TEST(Options, AreCheckedAgainInAPlanMadeByCode) {
  CompressPlan good{.model = "m", .output = "o"};
  good.calibration.text = "t";
  validate(good);
  CompressPlan plan = good;
  plan.model_stage.batch = 0;
  EXPECT_THAT(refusal([&] { validate(plan); }), HasSubstr("`model-batch` is 0, expected an integer from 1"));
  plan = good;
  plan.grid.lambdas = {0.1, std::nan("")};
  EXPECT_THAT(refusal([&] { validate(plan); }), HasSubstr("`lambda` is 0.1,nan, expected"));
  plan = good;
  plan.evaluation.length = 0;
  EXPECT_THAT(refusal([&] { validate(plan); }), HasSubstr("`evaluate-length`"));
  plan = good;
  plan.region.learning_rate = std::numeric_limits<double>::infinity();
  EXPECT_THAT(refusal([&] { validate(plan); }), HasSubstr("`learning-rate`"));
}

TEST(Options, RefuseEmptyTexts) {
  for (const PlanOption& option : plan_options()) {
    CompressPlan plan;
    EXPECT_THAT(refusal([&] { parse_option(plan, option.name, ""); }), HasSubstr(std::string(option.name)));
  }
}

TEST(Options, TakeFractionsAndSizesInSeveralForms) {
  CompressPlan plan;
  parse_option(plan, "sparsity", "60%");
  EXPECT_EQ(std::get<sparsity::Unstructured>(*plan.pattern).zero_fraction, 0.6);
  parse_option(plan, "memory-limit", "2GiB");
  EXPECT_EQ(plan.memory.limit, int64_t{2} << 30);
  parse_option(plan, "evaluate-windows", "0");
  EXPECT_FALSE(plan.evaluation.windows);
  parse_option(plan, "blend", "0,0.5");
  EXPECT_EQ(plan.grid.blends, (std::vector<double>{0, 0.5}));
}

TEST(Options, ApplyToTheStagesThatReadThem) {
  CompressPlan plan;
  plan.calibration.text = "t";
  const auto used = [&](const char* name, const char* repair) {
    plan.repair = parse_repair(repair);
    return applies(*find_option(name), plan, settings_of(plan, plan.repair.stages));
  };
  EXPECT_TRUE(used("batch", "solve,blocks:2"));
  EXPECT_FALSE(used("batch", "solve,model"));
  EXPECT_TRUE(used("model-batch", "bias-norm"));
  EXPECT_FALSE(used("lora-rank", "model"));
  EXPECT_TRUE(used("lora-rank", "lora"));
  EXPECT_FALSE(used("lambda", "sublayer"));
  EXPECT_TRUE(used("lambda", "auto"));
  EXPECT_FALSE(used("evaluate-length", "auto"));
  EXPECT_TRUE(used("criterion", "none"));
  plan.dense = "d";
  EXPECT_FALSE(used("criterion", "sublayer"));
}

TEST(Fields, AreRespelledWhereTheirNamesAreKnown) {
  const auto flag = [](std::string_view name) -> std::optional<std::string> {
    if (name == "samples" || name == "model-batch") return "--" + std::string(name);
    return std::nullopt;
  };
  EXPECT_EQ(respell_fields("`samples` is 0; raise `model-batch`", flag),
            "--samples is 0; raise --model-batch");
  EXPECT_EQ(respell_fields("file `x` and `samples`", flag), "file `x` and --samples");
  EXPECT_EQ(respell_fields("a ` alone, `samples`", flag), "a ` alone, --samples");
  EXPECT_EQ(respell_fields("`", flag), "`");
  EXPECT_EQ(respell_fields("", flag), "");
}

}  // namespace
}  // namespace freelunch::pipeline
