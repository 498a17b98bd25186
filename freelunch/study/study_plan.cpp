#include "freelunch/study/study_plan.h"

#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/base/random.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/plan/options.h"
#include "freelunch/study/study_file.h"

namespace freelunch::study {
namespace {

using nlohmann::json;
using pipeline::CompressPlan;
using pipeline::PlanOption;
using pipeline::Stage;
using pipeline::Use;

/// "model_batch": how a study file spells the name of an option.
std::string key_of(std::string_view option) {
  std::string key(option);
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

/// Runs `body`; an error of it starts with "study, <where>: " and spells fields as the file does.
template <typename Body>
void in_file(const std::string& where, const Body& body) {
  try {
    body();
  } catch (const Error& error) {
    const std::string message = pipeline::respell_fields(
        error.what(), [](std::string_view name) { return fmt::format("'{}'", key_of(name)); });
    fail(error.kind(), "study, {}: {}", where, message);
  }
}

/// The option that a key of a grid sets, or nullptr.
const PlanOption* grid_option(std::string_view key) {
  for (const PlanOption& option : pipeline::plan_options()) {
    if (varies_in_study(option) && key_of(option.name) == key) return &option;
  }
  return nullptr;
}

void set_option(CompressPlan& plan, std::string_view name, const json& value) {
  const PlanOption& option = *pipeline::find_option(name);
  option.assign(plan, checked(option, value));
}

std::string text_in(const json& value, const char* key) {
  if (!value.is_string() || value.get<std::string>().empty())
    fail(ErrorKind::kInvalidArgument, "study: '{}' is {}, expected a text that is not empty", key,
         value.dump());
  return value.get<std::string>();
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

/// Settings that a cell states even if they are the default.
bool is_always_stated(std::string_view name) {
  constexpr std::array kStated{"samples",      "length",      "held-out", "loss",
                               "propagation",  "epochs",      "batch",    "model-loss",
                               "model-epochs", "model-batch", "lora-rank"};
  return std::find(kStated.begin(), kStated.end(), name) != kStated.end();
}

/// Adds the options of a use that are always stated or differ from their default. `prefix` is left out of
/// their keys: model-loss is "loss" of a stage of the whole model.
void add_settings(json& settings, const CompressPlan& plan, Use use, std::string_view prefix = "") {
  static const CompressPlan defaults;
  for (const PlanOption& option : pipeline::plan_options()) {
    if (option.use != use || option.effect != pipeline::Effect::kResult) continue;
    const json value = option.value(plan);
    if (value.is_null() || (!is_always_stated(option.name) && value == option.value(defaults))) continue;
    const std::string_view name = option.name;
    settings[key_of(name.starts_with(prefix) ? name.substr(prefix.size()) : name)] = value;
  }
}

/// What is removed, as tables show it: "50%", "mlp 0.75", "mlp 0.75, kv-groups 2, 2:4".
std::string pattern_text(const CompressPlan& p) {
  std::string text;
  for (const PlanOption& option : pipeline::plan_options()) {
    if (option.group != "Structure" || option.kind == pipeline::ValueKind::kWord) continue;
    if (const json value = option.value(p); !value.is_null())
      text += fmt::format("{} {}, ", option.name, pipeline::text_of(value));
  }
  if (prunes_weights(p) || text.empty()) return text + sparsity::to_string(pattern_of(p));
  return text.substr(0, text.size() - 2);
}

/// By which criterion: "wanda", or of units, or both: "obs, wanda".
std::string criterion_text(const CompressPlan& p) {
  if (!p.structure.asks()) return p.criterion;
  return prunes_weights(p) ? p.structure.criterion + ", " + p.criterion : p.structure.criterion;
}

/// The settings of the choice of masks and of solve. The seed is one of them only if something draws from it:
/// random masks, random windows, a stage that trains, or the sensitivity.
json mask_settings(const CompressPlan& p, bool trains) {
  const auto& stages = p.repair.stages;
  const bool solves = pipeline::works_on_masks(stages);
  const criteria::Criterion& criterion = pipeline::criterion_of(p);
  const bool owl = p.allocation != sparsity::Allocation::kUniform;
  json s = json::object();
  add_settings(s, p, Use::kMasks);
  s.erase("sparsity");
  if (p.structure.asks()) add_settings(s, p, Use::kStructure);
  s["model"] = p.model.filename().string();
  s["criterion"] = criterion_text(p);
  s["pattern"] = pattern_text(p);
  if (p.group.value_or(criterion.group) == criterion.group) s.erase("group");
  if (criterion.needs_inputs() || !stages.empty() || owl || p.structure.asks()) {
    s["text"] = p.calibration.text.filename().string();
    add_settings(s, p, Use::kCalibration);
  }
  if (criterion.needs_inputs() || solves) add_settings(s, p, Use::kStatistics);
  if (criterion.draws_random || trains || p.sensitivity || p.structure.asks() ||
      p.calibration.rule == calibration::WindowRule::kCrop)
    s["seed"] = p.seed;
  if (solves) {
    s["solve"] = json::object();
    add_settings(s["solve"], p, Use::kSolve);
    if (p.sensitivity) add_settings(s["solve"], p, Use::kSensitivity);
  }
  return s;
}

json stage_settings(const CompressPlan& p, const Stage& stage) {
  CompressPlan resolved = p;
  resolved.region.epochs = p.region.epochs.value_or(pipeline::default_epochs(p.repair.stages));
  resolved.model_stage.epochs = p.model_stage.epochs.value_or(pipeline::default_epochs(p.repair.stages));
  json s{{"stage", to_string(stage)}};
  if (pipeline::is_local(stage)) {
    add_settings(s, resolved, Use::kRegions);
  } else {
    add_settings(s, resolved, Use::kWholeModel, "model-");
    if (pipeline::trained_by(stage) == reconstruct::Trains::kLora)
      add_settings(s, resolved, Use::kLora, "lora-");
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
  const std::string shown =
      fmt::format("{}-{}-{}", criterion_text(plan), pattern_text(plan), to_string(plan.repair.stages));
  for (const char c : shown) {
    if (c == ':')
      cell.id += 'x';
    else if (c == ',')
      cell.id += '+';
    else if (c == ' ')
      cell.id += '_';
    else if (c != '%')
      cell.id += c;
  }
  cell.id += fmt::format("-{}", digest(cell.settings.dump()));
  return cell;
}

/// The values of a key of a grid: those of a list, or the one. Options that are lists take lists in a list.
std::vector<json> values_in(const std::string& key, const json& value, const std::string& where) {
  const pipeline::ValueKind kind = grid_option(key)->kind;
  const bool nested = kind == pipeline::ValueKind::kNumbers || kind == pipeline::ValueKind::kTexts;
  const bool many = value.is_array() && (!nested || (!value.empty() && value.front().is_array()));
  if (many && value.empty())
    fail(ErrorKind::kInvalidArgument, "study: '{}' of {} is an empty list", key, where);
  return many ? value.get<std::vector<json>>() : std::vector<json>{value};
}

/// Visits every combination of a grid's values; the last key varies fastest.
void expand(const json& grid, const std::string& where, const CompressPlan& base,
            const std::function<void(const CompressPlan&)>& visit) {
  std::vector<std::pair<std::string, std::vector<json>>> axes;
  for (const auto& [key, value] : grid.items()) {
    if (key == "name") continue;
    axes.emplace_back(key, values_in(key, value, where));
  }
  const std::function<void(size_t, CompressPlan)> recurse = [&](size_t axis, const CompressPlan& plan) {
    if (axis == axes.size()) {
      visit(plan);
      return;
    }
    for (const json& value : axes[axis].second) {
      CompressPlan next = plan;
      in_file(where, [&] { set_option(next, grid_option(axes[axis].first)->name, value); });
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
  std::set<std::string> keys{"text"};
  for (const PlanOption& option : pipeline::calibration_options()) {
    if (option.effect == pipeline::Effect::kResult) keys.insert(key_of(option.name));
  }
  check_keys(c, "[calibration]", keys);
  plan.calibration.text = folder / text_in(needed(c, "text", "[calibration]"), "calibration.text");
  for (const PlanOption& option : pipeline::calibration_options()) {
    const std::string key = key_of(option.name);
    if (keys.contains(key) && c.contains(key))
      in_file("[calibration]", [&] { set_option(plan, option.name, c[key]); });
  }
  return plan;
}

std::vector<Evaluation> read_evaluations(const json& file, const std::filesystem::path& folder) {
  std::vector<Evaluation> evaluations;
  for (const json& e : needed(file, "evaluate", "the file")) {
    check_keys(e, "[[evaluate]]", {"name", "text", "field", "windows", "length", "from_end"});
    CompressPlan plan;
    plan.evaluation.text = folder / text_in(needed(e, "text", "[[evaluate]]"), "evaluate.text");
    for (const char* key : {"field", "windows", "length", "from-end"}) {
      if (const std::string spelled = key_of(key); e.contains(spelled))
        in_file("[[evaluate]]", [&] { set_option(plan, std::string("evaluate-") + key, e[spelled]); });
    }
    evaluations.push_back(
        {.name = text_in(needed(e, "name", "[[evaluate]]"), "evaluate.name"), .options = plan.evaluation});
  }
  if (evaluations.empty()) fail(ErrorKind::kInvalidArgument, "study: needs at least one [[evaluate]]");
  return evaluations;
}

void validate_cell(const CompressPlan& plan) {
  if (plan.structure.size)
    fail(ErrorKind::kInvalidArgument, "`size` tries several shapes; the cells of a study name their own");
  if (plan.repair.automatic)
    fail(ErrorKind::kInvalidArgument, "`repair` auto depends on the free memory; a study names its stages");
  pipeline::validate(plan);
  pipeline::check_repair(plan);
}

}  // namespace

bool varies_in_study(const pipeline::OptionFacts& option) {
  const bool of_cell = option.group == "Pruning" || option.group == "Structure" ||
                       option.group == "Calibration" || option.group == "Repair" || option.name == "seed";
  return of_cell && option.effect == pipeline::Effect::kResult;
}

std::string digest(const std::string& text) {
  RandomStream stream(0, text);
  return fmt::format("{:016x}", stream.next());
}

/// 0.001, or "0.0077 relative".
json rate_json(const pipeline::PeakRate& peak) {
  if (peak.unit == reconstruct::RateUnit::kAbsolute) return peak.rate;
  return fmt::format("{:g} relative", peak.rate);
}

size_t stages_after_masks(const Cell& cell) { return later_stages(cell.plan).size(); }

std::string prefix_key(const Cell& cell, size_t stages) {
  json key = mask_settings(cell.plan, stages > 0);
  const std::vector<Stage> later = later_stages(cell.plan);
  key["stages"] = json::array();
  for (size_t i = 0; i < stages; ++i) {
    key["stages"].push_back(stage_settings(cell.plan, later.at(i)));
    key["stages"].back()["learning_rate"] = rate_json(pipeline::peak_rate(cell.plan, later[i]));
  }
  return digest(key.dump());
}

std::string windows_key(const Cell& cell) {
  json key{{"text", cell.plan.calibration.text.string()}, {"seed", cell.plan.seed}};
  add_settings(key, cell.plan, Use::kCalibration);
  return key.dump();
}

json learning_rates(const Cell& cell) {
  json rates = json::object();
  for (const Stage& stage : later_stages(cell.plan))
    rates[to_string(stage)] = rate_json(pipeline::peak_rate(cell.plan, stage));
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
      evaluate::ChoiceTask task = evaluate::parse_task(text_in(f, "tasks.files"));
      task.file = folder / task.file;
      study.tasks.push_back(task);
    }
    if (file["tasks"].contains("limit")) {
      const pipeline::OptionFacts limit{.name = "limit",
                                        .help = "",
                                        .kind = pipeline::ValueKind::kInteger,
                                        .range = pipeline::from_to(1, 1 << 30)};
      in_file("[tasks]", [&] { study.task_limit = checked(limit, file["tasks"]["limit"]).get<int64_t>(); });
    }
  }
  std::set<std::string> grid_keys{"name"};
  for (const PlanOption& option : pipeline::plan_options()) {
    if (varies_in_study(option)) grid_keys.insert(key_of(option.name));
  }
  std::set<std::string> seen;
  CompressPlan base = base_plan(file, folder, compute);
  for (const json& model : needed(file, "models", "the file")) {
    base.model = folder / text_in(model, "models");
    int number = 0;
    for (const json& grid : needed(file, "grid", "the file")) {
      const std::string name = grid.is_object() && grid.contains("name") ? text_in(grid["name"], "grid.name")
                                                                         : fmt::format("grid {}", number + 1);
      ++number;
      check_keys(grid, fmt::format("[[grid]] {}", name), grid_keys);
      expand(grid, fmt::format("[[grid]] {}", name), base, [&](const CompressPlan& plan) {
        const std::string what = fmt::format(
            "{} {} {}", plan.criterion, sparsity::to_string(pattern_of(plan)), to_string(plan.repair.stages));
        in_file(fmt::format("[[grid]] {}, cell {}", name, what), [&] { validate_cell(plan); });
        Cell cell = make_cell(name, plan);
        if (seen.insert(cell.id).second) study.cells.push_back(std::move(cell));
      });
    }
  }
  return study;
}

}  // namespace freelunch::study
