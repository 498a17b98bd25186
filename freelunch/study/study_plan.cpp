#include "freelunch/study/study_plan.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/base/random.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/study/study_file.h"

namespace freelunch::study {
namespace {

using nlohmann::json;
using pipeline::CompressPlan;
using pipeline::Stage;

/// A value of the study file. Each accessor throws InvalidArgument naming the key if the type is another.
struct Value {
  const json& value;
  std::string key;

  [[noreturn]] void refuse(const char* expected) const {
    fail(ErrorKind::kInvalidArgument, "study: '{}' is {}, expected {}", key, value.dump(), expected);
  }
  std::string text() const {
    if (!value.is_string()) refuse("a string");
    return value.get<std::string>();
  }
  int64_t integer() const {
    if (!value.is_number_integer()) refuse("an integer");
    return value.get<int64_t>();
  }
  double number() const {
    if (!value.is_number()) refuse("a number");
    return value.get<double>();
  }
  bool flag() const {
    if (!value.is_boolean()) refuse("true or false");
    return value.get<bool>();
  }
  std::vector<double> numbers() const {
    if (value.is_number()) return {number()};
    if (!value.is_array()) refuse("a list of numbers");
    std::vector<double> all;
    for (const json& v : value) all.push_back(Value{v, key}.number());
    return all;
  }
};

using Setter = std::function<void(CompressPlan&, const Value&)>;

/// What a grid may vary. A list of values makes one cell for each; blend and lambda take a list in a list.
const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> all{
      {"criterion", [](CompressPlan& p, const Value& v) { p.criterion = v.text(); }},
      {"pattern", [](CompressPlan& p, const Value& v) { p.pattern = sparsity::parse_pattern(v.text()); }},
      {"group",
       [](CompressPlan& p, const Value& v) {
         if (v.text() != "row" && v.text() != "matrix") v.refuse("row or matrix");
         p.group = v.text() == "row" ? sparsity::Group::kRow : sparsity::Group::kMatrix;
       }},
      {"allocation",
       [](CompressPlan& p, const Value& v) { p.allocation = sparsity::parse_allocation(v.text()); }},
      {"statistics",
       [](CompressPlan& p, const Value& v) { p.statistics = pipeline::parse_statistics(v.text()); }},
      {"repair", [](CompressPlan& p, const Value& v) { p.repair = pipeline::parse_repair(v.text()); }},
      {"sensitivity",
       [](CompressPlan& p, const Value& v) {
         if (v.text() != "none" && v.text() != "kronecker") v.refuse("none or kronecker");
         p.sensitivity = v.text() == "kronecker";
       }},
      {"sensitivity_damping", [](CompressPlan& p, const Value& v) { p.sensitivity_damping = v.number(); }},
      {"sensitivity_masks", [](CompressPlan& p, const Value& v) { p.sensitivity_masks = v.flag(); }},
      {"blend", [](CompressPlan& p, const Value& v) { p.grid.blends = v.numbers(); }},
      {"lambda", [](CompressPlan& p, const Value& v) { p.grid.lambdas = v.numbers(); }},
      {"iterations", [](CompressPlan& p, const Value& v) { p.grid.iterations = v.integer(); }},
      {"propagation",
       [](CompressPlan& p, const Value& v) { p.region.propagation = pipeline::parse_propagation(v.text()); }},
      {"loss", [](CompressPlan& p, const Value& v) { p.region.loss = reconstruct::parse_loss(v.text()); }},
      {"learning_rate", [](CompressPlan& p, const Value& v) { p.region.learning_rate = v.number(); }},
      {"epochs", [](CompressPlan& p, const Value& v) { p.region.epochs = v.integer(); }},
      {"batch", [](CompressPlan& p, const Value& v) { p.region.batch = v.integer(); }},
      {"freeze_norms", [](CompressPlan& p, const Value& v) { p.region.freeze_norms = v.flag(); }},
      {"model_loss",
       [](CompressPlan& p, const Value& v) { p.model_stage.loss = reconstruct::parse_token_loss(v.text()); }},
      {"model_learning_rate",
       [](CompressPlan& p, const Value& v) { p.model_stage.learning_rate = v.number(); }},
      {"model_epochs", [](CompressPlan& p, const Value& v) { p.model_stage.epochs = v.integer(); }},
      {"model_batch", [](CompressPlan& p, const Value& v) { p.model_stage.batch = v.integer(); }},
      {"lora_rank", [](CompressPlan& p, const Value& v) { p.model_stage.lora.rank = v.integer(); }},
      {"samples", [](CompressPlan& p, const Value& v) { p.calibration.samples = v.integer(); }},
      {"length", [](CompressPlan& p, const Value& v) { p.calibration.length = v.integer(); }},
      {"seed", [](CompressPlan& p, const Value& v) { p.seed = static_cast<uint64_t>(v.integer()); }},
  };
  return all;
}

void check_keys(const json& object, const std::string& where, const std::set<std::string>& known) {
  if (!object.is_object()) fail(ErrorKind::kInvalidArgument, "study: {} is not a table", where);
  for (const auto& [key, value] : object.items()) {
    if (known.contains(key)) continue;
    std::string names;
    for (const std::string& name : known) names += fmt::format("{}{}", names.empty() ? "" : ", ", name);
    fail(ErrorKind::kInvalidArgument, "study: '{}' in {} is not known; expected some of {}", key, where,
         names);
  }
}

const json& needed(const json& object, const char* key, const std::string& where) {
  if (!object.contains(key)) fail(ErrorKind::kInvalidArgument, "study: {} needs '{}'", where, key);
  return object[key];
}

/// The settings of choosing masks, solve included; the seed where it, or a stage that trains, draws from it.
json mask_settings(const CompressPlan& p, bool trains) {
  const auto& stages = p.repair.stages;
  const bool solves = pipeline::works_on_masks(stages);
  const criteria::Criterion& criterion = criteria::criterion_named(p.criterion);
  json s{{"model", p.model.filename().string()},
         {"criterion", p.criterion},
         {"pattern", sparsity::to_string(p.pattern)}};
  const sparsity::Group group = p.group.value_or(criterion.group);
  if (group != criterion.group) s["group"] = group == sparsity::Group::kRow ? "row" : "matrix";
  if (p.allocation != sparsity::Allocation::kUniform) s["allocation"] = sparsity::name(p.allocation);
  if (criterion.needs_inputs() || !stages.empty() || p.allocation != sparsity::Allocation::kUniform) {
    s["text"] = p.calibration.text.filename().string();
    s["samples"] = p.calibration.samples;
    s["length"] = p.calibration.length;
    s["held_out"] = p.calibration.held_out;
    if (p.calibration.rule == calibration::WindowRule::kCrop) s["windows"] = "crop";
  }
  if ((criterion.needs_inputs() || solves) && p.statistics == pipeline::StatisticsSource::kDense)
    s["statistics"] = "dense";
  // a seed that nothing draws from makes no other cell
  if (criterion.draws_random || trains || p.sensitivity ||
      p.calibration.rule == calibration::WindowRule::kCrop)
    s["seed"] = p.seed;
  if (solves) {
    const reconstruct::ClosedFormGrid defaults;
    s["solve"] = json::object();
    if (p.grid.blends != defaults.blends) s["solve"]["blend"] = p.grid.blends;
    if (p.grid.lambdas != defaults.lambdas) s["solve"]["lambda"] = p.grid.lambdas;
    if (p.grid.iterations != defaults.iterations) s["solve"]["iterations"] = p.grid.iterations;
    if (p.sensitivity) {
      s["solve"]["sensitivity"] = "kronecker";
      if (p.sensitivity_damping != CompressPlan{}.sensitivity_damping)
        s["solve"]["sensitivity_damping"] = p.sensitivity_damping;
      if (p.sensitivity_masks) s["solve"]["sensitivity_masks"] = true;
    }
  }
  return s;
}

json stage_settings(const CompressPlan& p, const Stage& stage) {
  json s{{"stage", to_string(stage)}};
  if (pipeline::is_local(stage)) {
    s["loss"] = reconstruct::name(p.region.loss);
    s["propagation"] = pipeline::name(p.region.propagation);
    s["epochs"] = p.region.epochs.value_or(pipeline::default_epochs(p.repair.stages));
    s["batch"] = p.region.batch;
    if (p.region.learning_rate) s["learning_rate"] = *p.region.learning_rate;
    if (p.region.freeze_norms) s["freeze_norms"] = true;
  } else {
    s["loss"] = reconstruct::name(p.model_stage.loss);
    s["epochs"] = p.model_stage.epochs.value_or(pipeline::default_epochs(p.repair.stages));
    s["batch"] = p.model_stage.batch;
    if (p.model_stage.learning_rate) s["learning_rate"] = *p.model_stage.learning_rate;
    if (pipeline::trained_by(stage) == reconstruct::Trains::kLora) s["rank"] = p.model_stage.lora.rank;
  }
  return s;
}

std::vector<Stage> later_stages(const CompressPlan& p) {
  std::vector<Stage> stages = p.repair.stages;
  if (pipeline::works_on_masks(stages)) stages.erase(stages.begin());
  return stages;
}

Cell make_cell(const std::string& grid, const CompressPlan& plan) {
  Cell cell{
      .grid = grid, .plan = plan, .settings = mask_settings(plan, !later_stages(plan).empty()), .id = {}};
  cell.settings["repair"] = to_string(plan.repair.stages);
  cell.settings["stages"] = json::array();
  for (const Stage& stage : later_stages(plan))
    cell.settings["stages"].push_back(stage_settings(plan, stage));
  const std::string shown = fmt::format("{}-{}-{}", plan.criterion, sparsity::to_string(plan.pattern),
                                        to_string(plan.repair.stages));
  for (const char c : shown) {
    if (c == ':')
      cell.id += 'x';
    else if (c == ',')
      cell.id += '+';
    else if (c != '%')
      cell.id += c;
  }
  cell.id += fmt::format("-{}", digest(cell.settings.dump()));
  return cell;
}

/// Visits every combination of a grid's lists; the last key varies fastest.
void expand(const json& grid, const std::string& where, const CompressPlan& base,
            const std::function<void(const CompressPlan&)>& visit) {
  std::vector<std::pair<std::string, std::vector<json>>> axes;
  for (const auto& [key, value] : grid.items()) {
    if (key == "name") continue;
    const bool list = value.is_array();
    const bool nested = key == "blend" || key == "lambda";
    const bool many = list && (!nested || (!value.empty() && value.front().is_array()));
    if (many && value.empty())
      fail(ErrorKind::kInvalidArgument, "study: '{}' of {} is an empty list", key, where);
    axes.emplace_back(key, many ? value.get<std::vector<json>>() : std::vector<json>{value});
  }
  const std::function<void(size_t, CompressPlan)> recurse = [&](size_t axis, const CompressPlan& plan) {
    if (axis == axes.size()) {
      visit(plan);
      return;
    }
    for (const json& value : axes[axis].second) {
      CompressPlan next = plan;
      setters().at(axes[axis].first)(next, Value{value, axes[axis].first});
      recurse(axis + 1, next);
    }
  };
  recurse(0, base);
}

CompressPlan base_plan(const json& file, const std::filesystem::path& folder,
                       const backend::ComputeOptions& compute) {
  CompressPlan plan;
  plan.compute = compute;
  plan.output = "study";  // no cell writes a model
  const json& c = needed(file, "calibration", "the file");
  check_keys(c, "[calibration]", {"text", "samples", "length", "held_out", "windows"});
  plan.calibration.text = folder / Value{needed(c, "text", "[calibration]"), "calibration.text"}.text();
  if (c.contains("samples")) plan.calibration.samples = Value{c["samples"], "calibration.samples"}.integer();
  if (c.contains("length")) plan.calibration.length = Value{c["length"], "calibration.length"}.integer();
  if (c.contains("held_out"))
    plan.calibration.held_out = Value{c["held_out"], "calibration.held_out"}.integer();
  if (c.contains("windows"))
    plan.calibration.rule = calibration::parse_window_rule(Value{c["windows"], "calibration.windows"}.text());
  return plan;
}

std::vector<Evaluation> read_evaluations(const json& file, const std::filesystem::path& folder) {
  std::vector<Evaluation> evaluations;
  for (const json& e : needed(file, "evaluate", "the file")) {
    check_keys(e, "[[evaluate]]", {"name", "text", "windows", "length", "from_end"});
    Evaluation one;
    one.name = Value{needed(e, "name", "[[evaluate]]"), "evaluate.name"}.text();
    one.options.text = folder / Value{needed(e, "text", "[[evaluate]]"), "evaluate.text"}.text();
    if (e.contains("windows")) one.options.windows = Value{e["windows"], "evaluate.windows"}.integer();
    if (e.contains("length")) one.options.length = Value{e["length"], "evaluate.length"}.integer();
    if (e.contains("from_end")) one.options.from_end = Value{e["from_end"], "evaluate.from_end"}.flag();
    evaluations.push_back(one);
  }
  if (evaluations.empty()) fail(ErrorKind::kInvalidArgument, "study: needs at least one [[evaluate]]");
  return evaluations;
}

void validate_cell(const CompressPlan& plan) {
  if (plan.repair.automatic)
    fail(ErrorKind::kInvalidArgument,
         "repair 'auto' depends on the memory that is free; a study names its stages");
  pipeline::validate(plan);
  pipeline::check_repair(plan);
}

}  // namespace

std::string digest(const std::string& text) {
  RandomStream stream(0, text);
  return fmt::format("{:016x}", stream.next());
}

size_t stages_after_masks(const Cell& cell) { return later_stages(cell.plan).size(); }

std::string prefix_key(const Cell& cell, size_t stages, int64_t width) {
  json key = mask_settings(cell.plan, stages > 0);
  const std::vector<Stage> later = later_stages(cell.plan);
  key["stages"] = json::array();
  for (size_t i = 0; i < stages; ++i) {
    key["stages"].push_back(stage_settings(cell.plan, later.at(i)));
    key["stages"].back()["learning_rate"] = pipeline::learning_rate(cell.plan, later[i], width);
  }
  return digest(key.dump());
}

json learning_rates(const Cell& cell, int64_t width) {
  json rates = json::object();
  for (const Stage& stage : later_stages(cell.plan))
    rates[to_string(stage)] = pipeline::learning_rate(cell.plan, stage, width);
  return rates;
}

StudyPlan read_study(const std::filesystem::path& path, const backend::ComputeOptions& compute) {
  const json file = read_study_file(path);
  check_keys(file, "the file", {"models", "calibration", "evaluate", "tasks", "grid"});
  const std::filesystem::path folder = path.parent_path();
  StudyPlan study;
  study.evaluations = read_evaluations(file, folder);
  if (file.contains("tasks")) {
    check_keys(file["tasks"], "[tasks]", {"files", "limit"});
    for (const json& f : needed(file["tasks"], "files", "[tasks]")) {
      evaluate::ChoiceTask task = evaluate::parse_task(Value{f, "tasks.files"}.text());
      task.file = folder / task.file;
      study.tasks.push_back(task);
    }
    if (file["tasks"].contains("limit"))
      study.task_limit = Value{file["tasks"]["limit"], "tasks.limit"}.integer();
  }
  std::set<std::string> grid_keys{"name"};
  for (const auto& [key, setter] : setters()) grid_keys.insert(key);
  std::set<std::string> seen;
  CompressPlan base = base_plan(file, folder, compute);
  for (const json& model : needed(file, "models", "the file")) {
    base.model = folder / Value{model, "models"}.text();
    int number = 0;
    for (const json& grid : needed(file, "grid", "the file")) {
      const std::string name = grid.is_object() && grid.contains("name")
                                   ? Value{grid["name"], "grid.name"}.text()
                                   : fmt::format("grid {}", number + 1);
      ++number;
      check_keys(grid, fmt::format("[[grid]] {}", name), grid_keys);
      expand(grid, fmt::format("[[grid]] {}", name), base, [&](const CompressPlan& plan) {
        const std::string what = fmt::format("{} {} {}", plan.criterion, sparsity::to_string(plan.pattern),
                                             to_string(plan.repair.stages));
        try {
          validate_cell(plan);
        } catch (const Error& error) {
          fail(error.kind(), "study, [[grid]] {}, cell {}: {}", name, what, error.what());
        }
        Cell cell = make_cell(name, plan);
        if (seen.insert(cell.id).second) study.cells.push_back(std::move(cell));
      });
    }
  }
  return study;
}

}  // namespace freelunch::study
