#include "freelunch/study/runner.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/base/version.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/evaluate/choice_score.h"
#include "freelunch/pipeline/evaluator.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/pipeline/run_setup.h"
#include "freelunch/study/results.h"

namespace freelunch::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using pipeline::RunContext;
using pipeline::RunReport;

json read_json(const fs::path& path) {
  std::ifstream stream(path);
  return json::parse(stream, nullptr, /*allow_exceptions=*/false);
}

void write_json(const fs::path& path, const json& value) {
  checkpoint::write_file_atomically(path, value.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
}

json figure(const evaluate::Perplexity& p) {
  return {{"perplexity", p.perplexity}, {"tokens", p.tokens}, {"windows", p.windows}, {"length", p.length}};
}

/// One of the study's models, open, with its evaluation texts tokenised.
class StudyModel {
 public:
  StudyModel(const StudyPlan& study, const fs::path& path, const backend::Compute& compute, Sinks sinks)
      : study_(study),
        compute_(compute),
        sinks_(sinks),
        opened_(pipeline::open_model(path, pipeline::TokenizerUse::kRequired)) {
    for (const Evaluation& e : study.evaluations)
      evaluators_.emplace_back(e.options, opened_, compute, sinks.progress);
    for (const evaluate::ChoiceTask& task : study.tasks)
      examples_.push_back(evaluate::read_examples(task, study.task_limit));
  }

  const pipeline::OpenedModel& opened() const { return opened_; }

  /// {"figures": {name: ...}, "tasks": {name: ...}}
  json measure(const model::WeightView& weights) {
    json result{{"figures", json::object()}, {"tasks", json::object()}};
    for (size_t i = 0; i < evaluators_.size(); ++i)
      result["figures"][study_.evaluations[i].name] = figure(evaluators_[i].run(weights));
    for (size_t i = 0; i < examples_.size(); ++i) {
      const evaluate::ChoiceScore score = evaluate::score_choices(weights, opened_.require_tokenizer(),
                                                                  examples_[i], compute_, sinks_.progress);
      result["tasks"][study_.tasks[i].name] = {{"examples", score.examples.size()},
                                               {"acc", score.accuracy.value},
                                               {"acc_stderr", score.accuracy.error},
                                               {"acc_norm", score.accuracy_normed.value},
                                               {"acc_norm_stderr", score.accuracy_normed.error}};
    }
    return result;
  }

 private:
  const StudyPlan& study_;
  backend::Compute compute_;
  Sinks sinks_;
  pipeline::OpenedModel opened_;
  std::vector<pipeline::Evaluator> evaluators_;
  std::vector<std::vector<evaluate::ChoiceExample>> examples_;
};

json stage_records(const RunReport& report) {
  json stages = json::array();
  for (const pipeline::StageRecord& s : report.stages)
    stages.push_back({{"name", s.name}, {"seconds", s.seconds}, {"peak_bytes", s.peak_bytes}});
  return stages;
}

/// Mean over a stage's regions of held-out error after / before.
json region_summary(const RunReport& report) {
  std::map<std::string, std::pair<double, int64_t>> sums;
  for (const pipeline::RegionRecord& r : report.regions) {
    auto& [sum, count] = sums[r.stage];
    if (r.outcome.held_out_before > 0) {
      sum += r.outcome.held_out_after / r.outcome.held_out_before;
      ++count;
    }
  }
  json summary = json::object();
  for (const auto& [stage, entry] : sums)
    if (entry.second > 0) summary[stage] = entry.first / static_cast<double>(entry.second);
  return summary;
}

class StudyRun {
 public:
  StudyRun(const StudyPlan& study, const fs::path& folder, Sinks sinks)
      : study_(study), folder_(folder), sinks_(sinks) {
    for (const char* part : {"cells", "dense", "cache"}) fs::create_directories(folder / part);
    for (const Cell& cell : study.cells) {
      const fs::path& path = cell.plan.model;
      if (!widths_.contains(path))
        widths_[path] = pipeline::open_model(path, pipeline::TokenizerUse::kNone).model->config().width;
    }
  }

  StudyOutcome run() {
    StudyOutcome outcome{.cells = static_cast<int64_t>(study_.cells.size())};
    std::vector<const Cell*> pending = pending_cells();
    drop_stale_states(pending);
    for (size_t i = 0; i < pending.size(); ++i) {
      const Cell& cell = *pending[i];
      sinks_.log.log(LogLevel::kInfo, fmt::format("cell {} of {}: {}", i + 1, pending.size(), cell.id));
      ++outcome.run;
      try {
        run_cell(cell, {pending.begin() + static_cast<std::ptrdiff_t>(i) + 1, pending.end()});
      } catch (const Error& error) {
        // A cell that diverges or runs out of range is a result; whatever else goes wrong ends the study.
        if (error.kind() != ErrorKind::kNumerical) throw;
        ++outcome.failed;
        sinks_.log.log(LogLevel::kWarning, fmt::format("{} failed: {}", cell.id, error.what()));
        write_json(cell_path(cell), {{"id", cell.id}, {"settings", cell.settings}, {"error", error.what()}});
      }
      drop_stale_states({pending.begin() + static_cast<std::ptrdiff_t>(i) + 1, pending.end()});
      write_results(study_, folder_);  // a study that is stopped has its tables up to here
    }
    if (pending.empty()) write_results(study_, folder_);
    return outcome;
  }

 private:
  fs::path cell_path(const Cell& cell) const { return folder_ / "cells" / (cell.id + ".json"); }
  fs::path state_path(const std::string& key) const { return folder_ / "cache" / key; }

  json rates(const Cell& cell) const { return learning_rates(cell, widths_.at(cell.plan.model)); }

  /// Whether a cell has a result, of the learning rates that it would be run with now.
  bool is_done(const Cell& cell) const {
    const json result = read_json(cell_path(cell));
    if (!result.is_object() || result.contains("error")) return false;
    return result.value("learning_rates", json()) == rates(cell);
  }

  std::string state_key(const Cell& cell, size_t stages) const {
    return prefix_key(cell, stages, widths_.at(cell.plan.model));
  }

  /// Cells without a result, those next to each other that share the most work.
  std::vector<const Cell*> pending_cells() const {
    std::map<std::string, size_t> first_seen;  // of every prefix, in the order of the file
    std::vector<std::pair<std::vector<size_t>, const Cell*>> ordered;
    for (const Cell& cell : study_.cells) {
      std::vector<size_t> rank;
      for (size_t i = 0; i <= stages_after_masks(cell); ++i)
        rank.push_back(first_seen.try_emplace(state_key(cell, i), first_seen.size()).first->second);
      if (!is_done(cell)) ordered.emplace_back(rank, &cell);
    }
    std::stable_sort(ordered.begin(), ordered.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<const Cell*> cells;
    for (const auto& [rank, cell] : ordered) cells.push_back(cell);
    return cells;
  }

  std::set<std::string> needed_states(const std::vector<const Cell*>& pending) const {
    std::set<std::string> keys;
    for (const Cell* cell : pending) {
      for (size_t i = 0; i <= stages_after_masks(*cell); ++i) keys.insert(state_key(*cell, i));
    }
    return keys;
  }

  void drop_stale_states(const std::vector<const Cell*>& pending) const {
    const std::set<std::string> needed = needed_states(pending);
    std::vector<fs::path> stale;
    for (const auto& entry : fs::directory_iterator(folder_ / "cache")) {
      const std::string name = entry.path().filename().string();
      if (!needed.contains(name.substr(0, name.find('.')))) stale.push_back(entry.path());
    }
    for (const fs::path& path : stale) fs::remove(path);
  }

  void open(const Cell& cell) {
    const fs::path& path = cell.plan.model;
    if (model_ && model_path_ == path) return;
    compute_ = backend::resolve(cell.plan.compute);
    model_ = std::make_unique<StudyModel>(study_, path, compute_, sinks_);
    model_path_ = path;
    dense_store_.reset();
    const fs::path record = folder_ / "dense" / (digest(path.filename().string()) + ".json");
    const json known = read_json(record);
    const auto missing = [&](const Evaluation& e) { return !known["figures"].contains(e.name); };
    if (known.is_object() && std::none_of(study_.evaluations.begin(), study_.evaluations.end(), missing) &&
        known["tasks"].size() == study_.tasks.size())
      return;
    json dense = model_->measure(model::WeightView(*model_->opened().model));
    dense["model"] = path.filename().string();
    write_json(record, dense);
  }

  /// The file of what the dense model gives on the cell's windows, shared by all cells on the same ones.
  model::TensorFile& dense_scratch(const Cell& cell) {
    const pipeline::CalibrationOptions& c = cell.plan.calibration;
    const std::string key =
        fmt::format("{} {} {} {} {} {} {}", c.text.string(), c.one_document_a_line, static_cast<int>(c.rule),
                    c.samples, c.length, c.held_out, cell.plan.seed);
    if (!dense_store_ || dense_key_ != key) {
      dense_store_.reset();
      dense_store_ = std::make_unique<model::TensorFile>(folder_ / "dense.scratch");
      dense_key_ = key;
    }
    return *dense_store_;
  }

  void run_cell(const Cell& cell, const std::vector<const Cell*>& later) {
    open(cell);
    const pipeline::CompressPlan& plan = cell.plan;
    const std::vector<pipeline::Stage>& stages = plan.repair.stages;
    const size_t after_masks = stages_after_masks(cell);
    const size_t first = stages.size() - after_masks;
    RunReport report;
    sparsity::PatternMap patterns = pipeline::checked_patterns(plan, *model_->opened().model);
    model::TensorFile scratch(folder_ / "cell.scratch");
    pipeline::Journal journal;  // a cell that is stopped starts over, from the last state that another shares
    RunContext run{.plan = plan,
                   .opened = model_->opened(),
                   .teacher = *model_->opened().model,
                   .patterns = patterns,
                   .compute = compute_,
                   .windows = pipeline::calibration_windows(plan, model_->opened()),
                   .held_out = plan.calibration.held_out,
                   .scratch = scratch,
                   .dense_scratch = dense_scratch(cell),
                   .report = report,
                   .journal = journal,
                   .stages = stages,
                   .sinks = sinks_,
                   .activations = pipeline::activation_settings(plan.memory, folder_),
                   .dense_stream = std::nullopt};
    const std::set<std::string> wanted = needed_states(later);
    size_t done = 0;  // 1: masks; then a stage each
    for (size_t i = after_masks + 1; i-- > 0 && done == 0;) {
      if (load_state(state_key(cell, i), run)) done = i + 1;
    }
    const auto finished = [&](size_t i) {
      if (const std::string key = state_key(cell, i); wanted.contains(key)) save_state(key, run);
    };
    if (done == 0) {
      pipeline::choose_masks(run, patterns);
      finished(0);
      done = 1;
    }
    for (size_t i = done; i <= after_masks; ++i) {
      pipeline::repair(run, stages[first + i - 1]);
      finished(i);
    }
    pipeline::count_zeros(run);
    json result = model_->measure(run.current());
    result["id"] = cell.id;
    result["grid"] = cell.grid;
    result["settings"] = cell.settings;
    result["learning_rates"] = rates(cell);
    result["stages"] = stage_records(report);
    result["held_out_error"] = region_summary(report);
    int64_t zeros = 0;
    int64_t elements = 0;
    for (const pipeline::TensorRecord& t : report.tensors) {
      zeros += t.zeros;
      elements += t.elements;
    }
    result["sparsity"] = static_cast<double>(zeros) / static_cast<double>(elements);
    result["freelunch"] = kVersion;
    result["date"] = pipeline::utc_date();
    result["threads"] = at::get_num_threads();
    result["compute"] = compute_.dtype == at::kBFloat16 ? "bf16" : "fp32";
    write_json(cell_path(cell), result);
  }

  void save_state(const std::string& key, const RunContext& run) const {
    run.scratch.save(state_path(key));
    json record{
        {"stages", stage_records(run.report)}, {"tensors", json::array()}, {"regions", json::array()}};
    for (const pipeline::TensorRecord& t : run.report.tensors)
      record["tensors"].push_back({{"name", t.name},
                                   {"shape", t.shape},
                                   {"expected_zeros", t.expected_zeros},
                                   {"elements", t.elements},
                                   {"pattern", t.pattern}});
    for (const pipeline::RegionRecord& r : run.report.regions)
      record["regions"].push_back({{"stage", r.stage},
                                   {"region", r.region},
                                   {"held_out_before", r.outcome.held_out_before},
                                   {"held_out_after", r.outcome.held_out_after}});
    write_json(state_path(key).string() + ".report.json", record);  // last: a state without it is not there
  }

  bool load_state(const std::string& key, RunContext& run) const {
    const json record = read_json(state_path(key).string() + ".report.json");
    if (!record.is_object()) return false;
    try {
      run.scratch.load(state_path(key));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kBadFile) throw;
      return false;  // torn: the work is done again
    }
    for (const json& s : record["stages"])
      run.report.stages.push_back(
          {.name = s["name"], .seconds = s["seconds"], .peak_bytes = s["peak_bytes"], .note = ""});
    for (const json& t : record["tensors"])
      run.report.tensors.push_back({.name = t["name"],
                                    .shape = t["shape"],
                                    .zeros = 0,
                                    .expected_zeros = t["expected_zeros"],
                                    .elements = t["elements"],
                                    .pattern = t["pattern"]});
    for (const json& r : record["regions"])
      run.report.regions.push_back(
          {.stage = r["stage"],
           .region = r["region"],
           .outcome = {.held_out_before = r["held_out_before"], .held_out_after = r["held_out_after"]}});
    return true;
  }

  const StudyPlan& study_;
  fs::path folder_;
  Sinks sinks_;
  std::map<fs::path, int64_t> widths_;  ///< of the residual streams
  backend::Compute compute_;
  fs::path model_path_;
  std::unique_ptr<StudyModel> model_;
  std::unique_ptr<model::TensorFile> dense_store_;
  std::string dense_key_;
};

}  // namespace

StudyOutcome run_study(const StudyPlan& study, const fs::path& folder, Sinks sinks) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) fail(ErrorKind::kIo, "cannot create '{}': {}", folder.string(), error.message());
  return StudyRun(study, folder, sinks).run();
}

}  // namespace freelunch::study
