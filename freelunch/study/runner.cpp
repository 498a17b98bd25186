#include "freelunch/study/runner.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <map>
#include <set>

#include "freelunch/base/error.h"
#include "freelunch/base/version.h"
#include "freelunch/pipeline/count_zeros.h"
#include "freelunch/pipeline/make_smaller.h"
#include "freelunch/pipeline/repair.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/pipeline/run_setup.h"
#include "freelunch/study/cell_states.h"
#include "freelunch/study/json_files.h"
#include "freelunch/study/results.h"
#include "freelunch/study/study_model.h"

namespace freelunch::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using pipeline::RunContext;
using pipeline::RunReport;

/// By stage: held-out error after / before, mean over the regions.
std::map<std::string, double> held_out_errors(const RunReport& report) {
  std::map<std::string, std::pair<double, int64_t>> sums;
  for (const pipeline::RegionRecord& r : report.regions) {
    auto& [sum, count] = sums[r.stage];
    if (r.outcome.held_out_before > 0) {
      sum += r.outcome.held_out_after / r.outcome.held_out_before;
      ++count;
    }
  }
  std::map<std::string, double> means;
  for (const auto& [stage, entry] : sums)
    if (entry.second > 0) means[stage] = entry.first / static_cast<double>(entry.second);
  return means;
}

double sparsity_of(const RunReport& report) {
  int64_t zeros = 0;
  int64_t elements = 0;
  for (const pipeline::TensorRecord& t : report.tensors) {
    zeros += t.zeros;
    elements += t.elements;
  }
  return elements == 0 ? 0 : static_cast<double>(zeros) / static_cast<double>(elements);
}

/// The smaller model of a cell with structured pruning, and the blocks of the dense one that it keeps.
struct Smaller {
  pipeline::OpenedModel opened;
  std::vector<int64_t> blocks;
};

class StudyRun {
 public:
  StudyRun(const StudyPlan& study, const fs::path& folder, Sinks sinks)
      : study_(study), folder_(folder), sinks_(sinks), states_(folder / "cache") {
    for (const char* part : {"cells", "dense", "cache"}) fs::create_directories(folder / part);
    for (const Cell& cell : study.cells) pipeline::require_models(cell.plan);
  }

  StudyOutcome run() {
    StudyOutcome outcome{.cells = static_cast<int64_t>(study_.cells.size())};
    std::vector<const Cell*> pending = pending_cells();
    states_.remove_others(needed_states(pending));
    for (size_t i = 0; i < pending.size(); ++i) {
      const Cell& cell = *pending[i];
      sinks_.log.log(LogLevel::kInfo, fmt::format("cell {} of {}: {}", i + 1, pending.size(), cell.id));
      ++outcome.run;
      const std::set<std::string> wanted =
          needed_states({pending.begin() + static_cast<std::ptrdiff_t>(i) + 1, pending.end()});
      try {
        run_cell(cell, wanted);
      } catch (const Error& error) {
        // A cell that diverges or overflows is a result. Any other error ends the study.
        if (error.kind() != ErrorKind::kNumerical) throw;
        ++outcome.failed;
        sinks_.log.log(LogLevel::kWarning, fmt::format("{} failed: {}", cell.id, error.what()));
        write_json(cell_path(cell),
                   FailedCellRecord{.id = cell.id, .settings = cell.settings, .error = error.what()});
      }
      states_.remove_others(wanted);
      write_results(study_, folder_);  // so that a study that is stopped has its tables
    }
    if (pending.empty()) write_results(study_, folder_);
    fs::remove_all(folder_ / "smaller");
    return outcome;
  }

 private:
  fs::path cell_path(const Cell& cell) const { return folder_ / "cells" / (cell.id + ".json"); }

  json rates(const Cell& cell) const { return learning_rates(cell); }

  /// Whether a cell has a result, with the learning rates that it would run with now.
  bool is_done(const Cell& cell) const {
    const auto result = read_record<CellRecord>(cell_path(cell));
    return result && result->learning_rates == rates(cell);
  }

  std::string state_key(const Cell& cell, size_t stages) const { return prefix_key(cell, stages); }

  /// Cells without a result, ordered so that cells that share the most work are next to each other.
  std::vector<const Cell*> pending_cells() const {
    std::map<std::string, size_t> first_seen;  // prefix -> its position in the file
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

  void open(const Cell& cell) {
    const fs::path& path = cell.plan.model;
    if (model_ && model_path_ == path) return;
    compute_ = backend::resolve(cell.plan.compute);
    model_ = std::make_unique<StudyModel>(study_, path, compute_, sinks_);
    model_path_ = path;
    dense_scratch_.reset();
    const fs::path record = folder_ / "dense" / (digest(path.filename().string()) + ".json");
    const auto known = read_record<DenseRecord>(record);
    if (known && is_complete(known->measured)) return;
    write_json(record, DenseRecord{.model = path.filename().string(),
                                   .measured = model_->measure(model::WeightView(*model_->opened().model))});
  }

  bool is_complete(const Measurements& measured) const {
    const auto known = [&](const Evaluation& e) { return measured.figures.contains(e.name); };
    return std::all_of(study_.evaluations.begin(), study_.evaluations.end(), known) &&
           measured.tasks.size() == study_.tasks.size();
  }

  /// The scratch file for what depends only on the dense model and the cell's calibration windows. Cells with
  /// the same windows share it.
  model::TensorFile& dense_scratch(const Cell& cell) {
    const std::string key = windows_key(cell);
    if (!dense_scratch_ || dense_key_ != key) {
      dense_scratch_.reset();
      dense_scratch_ = std::make_unique<model::TensorFile>(folder_ / "dense.scratch");
      dense_key_ = key;
    }
    return *dense_scratch_;
  }

  /// What a run of a cell works on, apart from its models and windows.
  struct Work {
    RunReport report;
    sparsity::PatternMap patterns;
    model::TensorFile scratch;
    pipeline::Journal
        journal;  ///< without a file: a cell that is stopped restarts from the last state in cache/
  };

  /// The context of a run of the cell on a model, with the dense model as its teacher.
  RunContext context(const Cell& cell, const pipeline::OpenedModel& opened, Work& work,
                     model::TensorFile& dense_scratch) const {
    const pipeline::CompressPlan& plan = cell.plan;
    return {.plan = plan,
            .opened = opened,
            .teacher = *model_->opened().model,
            .patterns = work.patterns,
            .compute = compute_,
            .windows = pipeline::calibration_windows(plan, model_->opened(), sinks_.log),
            .held_out = plan.calibration.held_out,
            .scratch = work.scratch,
            .dense_scratch = dense_scratch,
            .report = work.report,
            .journal = work.journal,
            .stages = plan.repair.stages,
            .sinks = sinks_,
            .activations = pipeline::activation_settings(plan.memory, folder_),
            .dense_stream = std::nullopt};
  }

  /// Runs a cell and records its result; saves those of its states that other cells want.
  void run_cell(const Cell& cell, const std::set<std::string>& wanted) {
    open(cell);
    const pipeline::CompressPlan& plan = cell.plan;
    Work work{.report = {},
              .patterns = pipeline::checked_patterns(plan, *model_->opened().model),
              .scratch = model::TensorFile(folder_ / "cell.scratch"),
              .journal = {}};
    const bool cuts = plan.structure.asks();
    Smaller smaller = cuts ? smaller_model(cell) : Smaller{};
    // sensitivities are of the model that is pruned
    RunContext run = context(cell, cuts ? smaller.opened : model_->opened(), work,
                             cuts ? work.scratch : dense_scratch(cell));
    run.teacher_blocks = std::move(smaller.blocks);
    run_stages(cell, run, work.patterns, wanted);
    pipeline::count_zeros(run);
    if (cuts) {  // a state that was loaded holds what came after the cut
      const auto stages =
          read_json(cut_folder(cell) / "stages.json").get<std::vector<pipeline::StageRecord>>();
      work.report.stages.insert(work.report.stages.begin(), stages.begin(), stages.end());
    }
    record_result(cell, work.report, model_->measure(run.current()));
  }

  fs::path cut_folder(const Cell& cell) const { return folder_ / "smaller" / prefix_key(cell, 0); }

  /// The smaller model of a cell with structured pruning. Cells that cut alike share its folder.
  Smaller smaller_model(const Cell& cell) {
    const fs::path folder = cut_folder(cell);
    if (fs::exists(folder / "stages.json"))
      return {.opened = {.model = pipeline::open_weights(folder / "smaller-0", sinks_.log)},
              .blocks = read_json(folder / "blocks.json").get<std::vector<int64_t>>()};
    fs::create_directories(folder);
    Work work{.report = {},
              .patterns = sparsity::PatternMap(sparsity::Unstructured{0}, {}),
              .scratch = model::TensorFile(folder_ / "cut.scratch"),
              .journal = {}};
    RunContext run = context(cell, model_->opened(), work, dense_scratch(cell));
    pipeline::SmallerModel made = pipeline::make_smaller(run, folder);
    write_json(folder / "blocks.json", made.blocks);
    write_json(folder / "stages.json", json(work.report.stages));  // last: it says that the rest is there
    return {.opened = {.model = std::move(made.model)}, .blocks = std::move(made.blocks)};
  }

  /// Chooses masks and runs the stages of a cell, from the latest state that was saved.
  void run_stages(const Cell& cell, RunContext& run, sparsity::PatternMap& patterns,
                  const std::set<std::string>& wanted) const {
    const std::vector<pipeline::Stage>& stages = cell.plan.repair.stages;
    const size_t after_masks = stages_after_masks(cell);
    const size_t first = stages.size() - after_masks;
    size_t done = 0;  // 1: the choice of masks; then one more for each stage
    for (size_t i = after_masks + 1; i-- > 0 && done == 0;) {
      if (states_.load(state_key(cell, i), run)) done = i + 1;
    }
    for (size_t i = done; i <= after_masks; ++i) {
      if (i == 0)
        pipeline::choose_masks(run, patterns);
      else
        pipeline::repair(run, stages[first + i - 1]);
      if (const std::string key = state_key(cell, i); wanted.contains(key)) states_.save(key, run);
    }
  }

  void record_result(const Cell& cell, const RunReport& report, Measurements measured) const {
    write_json(cell_path(cell), CellRecord{.id = cell.id,
                                           .grid = cell.grid,
                                           .settings = cell.settings,
                                           .learning_rates = rates(cell),
                                           .measured = std::move(measured),
                                           .stages = report.stages,
                                           .held_out_error = held_out_errors(report),
                                           .sparsity = sparsity_of(report),
                                           .freelunch = kVersion,
                                           .date = pipeline::utc_date(),
                                           .threads = at::get_num_threads(),
                                           .compute = std::string(backend::dtype_name(compute_.dtype))});
  }

  const StudyPlan& study_;
  fs::path folder_;
  Sinks sinks_;
  CellStates states_;
  backend::Compute compute_;
  fs::path model_path_;
  std::unique_ptr<StudyModel> model_;
  std::unique_ptr<model::TensorFile> dense_scratch_;
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
