#include "commands.h"

#include <algorithm>
#include <functional>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/model_io/inspection.h"
#include "freelunch/pipeline/compress.h"
#include "freelunch/pipeline/conversion_options.h"
#include "freelunch/pipeline/measure_options.h"
#include "freelunch/pipeline/planned_run.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/plan/assign_options.h"
#include "freelunch/plan/options.h"
#include "freelunch/plan/value_kind_names.h"
#include "freelunch/study/results.h"
#include "freelunch/study/runner.h"

namespace freelunch::python {
namespace {

using nlohmann::json;
using pipeline::ConversionPlan;
using pipeline::Option;
using pipeline::OptionFacts;
using pipeline::PerplexityPlan;
using pipeline::PlanOption;
using pipeline::Use;
using pipeline::ValueKind;
using pipeline::ZeroShotPlan;

struct ZeroShotCall {
  ZeroShotPlan plan;
  std::vector<std::string> tasks;
  bool examples = false;
};

struct StudyCall {
  std::filesystem::path output;
  backend::ComputeOptions compute;
  bool list = false;
};

template <typename Plan>
using Table = std::vector<Option<Plan>>;

/// Rows of a plan inside another structure.
template <typename Outer, typename Inner>
void append(Table<Outer>& rows, const Table<Inner>& inner, Inner Outer::*member) {
  for (const Option<Inner>& row : inner) {
    rows.push_back({row, [row, member](Outer& outer, const json& value) { row.assign(outer.*member, value); },
                    [row, member](const Outer& outer) { return row.value(outer.*member); }});
  }
}

template <typename Plan>
Table<Plan> joined(Table<Plan> rows, const Table<Plan>& more) {
  rows.insert(rows.end(), more.begin(), more.end());
  return rows;
}

/// The options of compress, reconstruct or plan.
Table<pipeline::CompressPlan> plan_rows(std::string_view command) {
  Table<pipeline::CompressPlan> rows = pipeline::plan_options();
  std::erase_if(rows, [&](const PlanOption& row) {
    if (command == "compress") return row.name == "dense";
    return command == "reconstruct" && (row.use == Use::kMasks || row.use == Use::kStructure);
  });
  return rows;
}

Table<PerplexityPlan> perplexity_rows() {
  return joined(pipeline::perplexity_options(), pipeline::machine_options(&PerplexityPlan::compute));
}

Table<ZeroShotCall> zeroshot_rows() {
  using R = pipeline::Rows<ZeroShotCall>;
  Table<ZeroShotCall> rows{R::text("tasks", "Files of JSON lines, each FILE or NAME=FILE", Use::kEveryRun,
                                   pipeline::field(&ZeroShotCall::tasks)),
                           R::flag("examples", "Return the log-likelihoods of every example too",
                                   Use::kEveryRun, pipeline::field(&ZeroShotCall::examples))};
  rows.front().kind = ValueKind::kTexts;
  rows.front().value = [](const ZeroShotCall&) { return json(); };  // there is no default
  append(rows, pipeline::zeroshot_options(), &ZeroShotCall::plan);
  append(rows, pipeline::machine_options(&ZeroShotPlan::compute), &ZeroShotCall::plan);
  return rows;
}

Table<StudyCall> study_rows() {
  using R = pipeline::Rows<StudyCall>;
  const Table<StudyCall> rows{R::path("output", "Folder of the study; may hold finished cells",
                                      Use::kEveryRun, pipeline::field(&StudyCall::output)),
                              R::flag("list", "Return the names of the cells and run none", Use::kEveryRun,
                                      pipeline::field(&StudyCall::list))};
  return joined(rows, pipeline::machine_options(&StudyCall::compute));
}

/// What `inspect` is asked for: nothing apart from the model.
struct InspectCall {};

pipeline::CompressPlan plan_of(const Call& call) {
  pipeline::CompressPlan plan;
  assign_options(plan, plan_rows(call.command), call.options);
  plan.model = call.model;
  plan.command = call.as_typed;
  plan.live = call.live;
  plan.in_place = call.in_place;
  if (call.criterion) {
    plan.own_criterion = call.criterion;
    plan.criterion = call.criterion->name;
  }
  return plan;
}

std::string run_compress(const Call& call, Sinks sinks) {
  return pipeline::compress(plan_of(call), sinks).json;
}

std::string run_plan(const Call& call, Sinks sinks) {
  return pipeline::planned_run(plan_of(call), sinks).dump();
}

std::string run_perplexity(const Call& call, Sinks sinks) {
  PerplexityPlan plan;
  assign_options(plan, perplexity_rows(), call.options);
  plan.model = call.model;
  plan.live = call.live;
  return pipeline::to_json(pipeline::measure_perplexity(plan, sinks), plan.protocol).dump();
}

std::string run_zeroshot(const Call& call, Sinks sinks) {
  ZeroShotCall asked;
  assign_options(asked, zeroshot_rows(), call.options);
  asked.plan.model = call.model;
  asked.plan.live = call.live;
  for (const std::string& task : asked.tasks) asked.plan.tasks.push_back(evaluate::parse_task(task));
  return to_json(pipeline::measure_zero_shot(asked.plan, sinks), asked.examples).dump();
}

std::string run_inspect(const Call& call, Sinks sinks) {
  InspectCall none;
  assign_options(none, Table<InspectCall>{}, call.options);
  return pipeline::inspect({call.model, call.live}, sinks).dump();
}

std::string run_convert(const Call& call, Sinks sinks) {
  ConversionPlan plan;
  assign_options(plan, pipeline::conversion_options(), call.options);
  plan.model = call.model;
  pipeline::convert(plan, sinks);
  return json{{"output", plan.output.string()}}.dump();
}

std::string run_study(const Call& call, Sinks sinks) {
  StudyCall asked;
  assign_options(asked, study_rows(), call.options);
  const study::StudyPlan plan = study::read_study(call.model, asked.compute);
  if (asked.list) {
    json names = json::array();
    for (const study::Cell& cell : plan.cells) names.push_back(cell.id);
    return json{{"cells", names}}.dump();
  }
  const study::StudyOutcome outcome = study::run_study(plan, asked.output, sinks);
  if (outcome.failed > 0)
    fail(ErrorKind::kNumerical, "{} cells failed; their files in '{}' say why, and a rerun tries them again",
         outcome.failed, (asked.output / "cells").string());
  return study::collect_results(plan, asked.output).dump();
}

/// The rows as JSON, with the defaults of `plan`.
template <typename Plan>
json described(const Table<Plan>& rows, const Plan& plan = {}) {
  json options = json::array();
  for (const Option<Plan>& row : rows) {
    std::string help(row.help);
    if (row.kind == ValueKind::kStages) help += ": " + pipeline::stage_names();
    json option{{"name", row.name},
                {"keyword", keyword_of(row.name)},
                {"kind", name_in(pipeline::kValueKindNames, row.kind)},
                {"group", row.group},
                {"expected", expected_text(row)},
                {"default", row.value(plan)},
                {"unset", row.unset},
                {"help", help}};
    if (!row.choices.empty()) option["choices"] = row.choices;
    options.push_back(std::move(option));
  }
  return options;
}

json all_options() {
  json all = json::object();
  for (const char* command : {"compress", "reconstruct", "plan"})
    all[command] = described(plan_rows(command));
  all["perplexity"] = described(perplexity_rows());
  all["zeroshot"] = described(zeroshot_rows());
  all["convert"] = described(pipeline::conversion_options());
  all["study"] = described(study_rows());
  all["inspect"] = json::array();
  return all;
}

}  // namespace

std::string run_call(const Call& call, Sinks sinks) {
  using Run = std::string (*)(const Call&, Sinks);
  static const std::map<std::string_view, Run> commands{{"compress", run_compress},
                                                        {"reconstruct", run_compress},
                                                        {"plan", run_plan},
                                                        {"convert", run_convert},
                                                        {"perplexity", run_perplexity},
                                                        {"zeroshot", run_zeroshot},
                                                        {"inspect", run_inspect},
                                                        {"study", run_study}};
  const auto command = commands.find(call.command);
  if (command == commands.end()) fail(ErrorKind::kInvalidArgument, "there is no command '{}'", call.command);
  return command->second(call, sinks);
}

std::string options_json() { return all_options().dump(); }

std::string keyword_of(std::string_view option) {
  std::string keyword(option);
  std::replace(keyword.begin(), keyword.end(), '-', '_');
  return keyword == "lambda" ? "lambda_" : keyword;
}

std::string with_keywords(std::string_view message) {
  static const std::set<std::string, std::less<>> names = [] {
    std::set<std::string, std::less<>> all;
    const json commands = all_options();
    for (const auto& [command, options] : commands.items()) {
      for (const json& option : options) all.insert(option["name"].get<std::string>());
    }
    return all;
  }();
  return pipeline::respell_fields(message, [&](std::string_view name) -> std::optional<std::string> {
    if (!names.contains(name)) return std::nullopt;
    return keyword_of(name);
  });
}

}  // namespace freelunch::python
