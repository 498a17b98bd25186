#include "freelunch/pipeline/compress.h"

#include <ATen/ATen.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "freelunch/base/error.h"
#include "freelunch/base/stopwatch.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/checkpoint/files/output_folder.h"
#include "freelunch/model_io/export.h"
#include "freelunch/model_io/export_live.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/pipeline/count_zeros.h"
#include "freelunch/pipeline/evaluator.h"
#include "freelunch/pipeline/make_smaller.h"
#include "freelunch/pipeline/repair.h"
#include "freelunch/pipeline/run_setup.h"
#include "freelunch/pipeline/run_stage.h"
#include "freelunch/pipeline/stages/stage.h"
#include "freelunch/record/report_page.h"
#include "freelunch/record/run_report.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

std::string note_of(const evaluate::Perplexity& figure) {
  return fmt::format("perplexity {:.3f}", figure.perplexity);
}

/// Whether resuming makes no sense after an error: inputs or options must change, which makes another run.
bool needs_another_run(ErrorKind kind) {
  return kind == ErrorKind::kBadFile || kind == ErrorKind::kInvalidArgument ||
         kind == ErrorKind::kUnsupported;
}

/// Does the work of a run. If it fails after something worth resuming from was finished, the staging folder
/// is kept, and the error says so.
void keeping_what_is_finished(checkpoint::OutputFolder& output, const Journal& journal,
                              const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    if (journal.has_progress() && !needs_another_run(error.kind())) output.keep_partial();
    if (!journal.has_progress() || !output.keeps_partial()) throw;
    fail(error.kind(),
         "{}; what is finished is kept in '{}': the same command resumes from there, `restart` discards it",
         error.what(), output.work().string());
  } catch (...) {
    if (journal.has_progress()) output.keep_partial();
    throw;
  }
}

/// Decisions that depend on free memory or the machine's speed and change what is written: takes those of the
/// process that started the run, or records this one's.
void record_decisions(ResolvedPlan& resolved, Journal& journal) {
  const nlohmann::json decided = journal.choice("settled", [&] {
    nlohmann::json stages = nlohmann::json::array();
    for (const Stage& stage : resolved.stages) stages.push_back(to_string(stage));
    return nlohmann::json{
        {"stages", stages},
        {"region batch", resolved.plan.region.batch},
        {"model batch", resolved.plan.model_stage.batch},
        {"activation dtype", static_cast<int>(resolved.plan.memory.activation_dtype.value())}};
  });
  resolved.stages.clear();
  for (const nlohmann::json& name : decided.at("stages"))
    resolved.stages.push_back(parse_repair(name.get<std::string>()).stages.at(0));
  resolved.plan.region.batch = decided.at("region batch");
  resolved.plan.model_stage.batch = decided.at("model batch");
  resolved.plan.memory.activation_dtype =
      static_cast<at::ScalarType>(decided.at("activation dtype").get<int>());
}

/// The stages from the first evaluation to the last repair. `work` is for files of the run itself.
void run_stages(RunInputs& in, RunContext& run, sparsity::PatternMap& patterns, const fs::path& work) {
  RunReport& report = run.report;
  const Evaluator& evaluator = *in.evaluator;
  if (evaluator.wanted()) {
    run_stage(run, "evaluate dense", [&](StageRecord& record) {
      report.dense = evaluator.run(run.dense());
      record.note = note_of(*report.dense);
    });
  }
  if (run.plan.structure.asks()) {  // the dense model stays as the teacher
    SmallerModel smaller = make_smaller(run, work);
    in.dense = std::exchange(in.opened.model, std::move(smaller.model));
    run.teacher_blocks = std::move(smaller.blocks);
  }
  choose_masks(run, patterns);
  if (evaluator.wanted()) {
    const bool given = !run.plan.dense.empty();
    run_stage(run, "evaluate pruned", [&](StageRecord& record) {
      report.pruned =
          evaluator.run(given ? model::WeightView(run.model())
                              : model::WeightView(run.model(), &run.scratch, model::Overlay::kPruned));
      record.note = note_of(*report.pruned);
    });
  }
  for (size_t i = works_on_masks(run.stages) ? 1 : 0; i < run.stages.size(); ++i) repair(run, run.stages[i]);
}

/// Runs the stages and writes the model to the output folder.
void run_and_save(RunInputs& in, RunContext& run, sparsity::PatternMap& patterns,
                  checkpoint::OutputFolder& output) {
  RunReport& report = run.report;
  run_stages(in, run, patterns, output.work());
  count_zeros(run);
  output.keep_partial();  // whatever fails from here on, the work is done
  timed(report, run.compute.device, "save", [&](StageRecord&) {
    if (run.plan.in_place)
      write_live(run.current(), *run.plan.live, run.plan.saved_as.plain_zeros, run.sinks.progress);
    else
      export_model(in.opened, run.current(), output.path(), run.plan.saved_as, run.sinks);
  });
  if (!in.evaluator->wanted()) return;
  timed(report, run.compute.device, "evaluate repaired", [&](StageRecord& record) {  // as it was written
    const auto saved = run.plan.in_place ? nullptr : model::LanguageModel::open(output.path());
    report.repaired = in.evaluator->run(model::WeightView(saved ? *saved : *in.opened.model));
    record.note = note_of(*report.repaired);
  });
}

void write_report(const RunContext& run, const checkpoint::OutputFolder& output) {
  RunReport& report = run.report;
  const model::LanguageModel& opened = run.is_smaller() ? run.teacher : run.model();
  const nlohmann::json json =
      to_json(report, run.plan, opened, run.compute, settings_of(run.plan, run.stages));
  report.json = json.dump(2);
  checkpoint::write_file_atomically(output.path() / "freelunch.json", report.json + "\n");
  checkpoint::write_file_atomically(output.path() / "report.html", report_page(json));
}

}  // namespace

RunReport compress(const CompressPlan& asked, Sinks sinks) {
  const Stopwatch watch;
  check_plan(asked);
  const backend::Compute compute = resolve(asked.compute);
  checkpoint::OutputFolder output(asked.output, asked.overwrite, checkpoint::Staging::kLasting);
  if (asked.restart) output.start_over();
  RunReport report;
  RunInputs inputs;
  timed(report, compute.device, "open", [&](StageRecord&) {
    inputs = open_inputs(asked, compute, sinks);
    report.digests = digest_inputs(asked);
  });
  ResolvedPlan resolved = resolve_run(asked, inputs, compute, sinks);
  sparsity::PatternMap patterns = checked_patterns(asked, *inputs.opened.model);
  model::TensorFile scratch(output.work() / "weights.scratch", model::TensorFile::Lifetime::kFolder);
  Journal journal(output.work(), fingerprint(asked, compute, report.digests), scratch, report,
                  std::chrono::seconds(asked.commit_seconds));
  if (journal.has_progress())
    sinks.log.log(LogLevel::kInfo, fmt::format("resuming the run in '{}'", output.work().string()));
  record_decisions(resolved, journal);
  report.planned = resolved.budget;
  RunContext run{.plan = resolved.plan,
                 .opened = inputs.opened,
                 .teacher = inputs.teacher(),
                 .patterns = patterns,
                 .compute = compute,
                 .windows = inputs.windows,
                 .held_out = inputs.windows.defined() ? resolved.plan.calibration.held_out : 0,
                 .scratch = scratch,
                 .dense_scratch = scratch,
                 .report = report,
                 .journal = journal,
                 .stages = resolved.stages,
                 .sinks = sinks,
                 .activations = activation_settings(resolved.plan.memory, output.work()),
                 .dense_stream = std::nullopt};
  keeping_what_is_finished(output, journal, [&] {
    output.clear();  // what an earlier process half saved
    run_and_save(inputs, run, patterns, output);
    report.seconds = watch.seconds() + journal.earlier_seconds();
    write_report(run, output);
    output.commit();
  });
  return report;
}

}  // namespace freelunch::pipeline
