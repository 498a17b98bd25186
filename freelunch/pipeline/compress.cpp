#include "freelunch/pipeline/compress.h"

#include <ATen/ATen.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "freelunch/base/error.h"
#include "freelunch/checkpoint/files/atomic_file.h"
#include "freelunch/model_io/export.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/pipeline/evaluator.h"
#include "freelunch/pipeline/given_masks.h"
#include "freelunch/pipeline/run_context.h"
#include "freelunch/pipeline/run_setup.h"
#include "freelunch/record/report_page.h"
#include "freelunch/record/run_report.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

void run_stages(RunContext& run, sparsity::PatternMap& patterns, const Evaluator& evaluator) {
  RunReport& report = run.report;
  const bool given = !run.plan.dense.empty();
  choose_masks(run, patterns);
  if (evaluator.wanted()) {
    run_stage(run, "evaluate pruned", [&] {
      report.pruned =
          evaluator.run(given ? model::WeightView(run.model())
                              : model::WeightView(run.model(), &run.scratch, model::Overlay::kPruned));
      return fmt::format("perplexity {:.3f}", report.pruned->perplexity);
    });
  }
  for (const Stage& stage : run.stages) {
    if (stage.kind != StageKind::kSolve) repair(run, stage);
  }
}

/// Whether going on makes no sense after an error: inputs or options must change, and then it is another run.
bool needs_another_run(ErrorKind kind) {
  return kind == ErrorKind::kBadFile || kind == ErrorKind::kInvalidArgument ||
         kind == ErrorKind::kUnsupported;
}

/// Does the work of a run. Where it fails with something finished that is worth going on from, that stays,
/// and the message says so.
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

/// What was decided by the memory that is free or the machine's speed stays as the first process decided it,
/// as far as it changes what is written.
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
  std::string list;
  for (const nlohmann::json& name : decided.at("stages")) {
    if (!list.empty()) list += ',';
    list += name.get<std::string>();
  }
  resolved.stages = list.empty() ? std::vector<Stage>() : parse_repair(list).stages;
  resolved.plan.region.batch = decided.at("region batch");
  resolved.plan.model_stage.batch = decided.at("model batch");
  resolved.plan.memory.activation_dtype =
      static_cast<at::ScalarType>(decided.at("activation dtype").get<int>());
}

/// From the opened model to the files of the output folder but the report.
void run_and_save(const RunInputs& in, RunContext& run, sparsity::PatternMap& patterns,
                  checkpoint::OutputFolder& output) {
  const Evaluator& evaluator = *in.evaluator;
  RunReport& report = run.report;
  if (evaluator.wanted()) {
    run_stage(run, "evaluate dense", [&] {
      report.dense = evaluator.run(run.dense());
      return fmt::format("perplexity {:.3f}", report.dense->perplexity);
    });
  }
  run_stages(run, patterns, evaluator);
  count_zeros(run);
  output.keep_partial();  // whatever goes wrong from here on, the work is done
  timed(report, run.compute.device, "save", [&] {
    export_model(in.opened, run.current(), output.path(), run.plan.saved_as, run.sinks.progress);
    return std::string();
  });
  if (!evaluator.wanted()) return;
  // Of the folder as it was written, not of what was meant to be in it.
  timed(report, run.compute.device, "evaluate repaired", [&] {
    const auto saved = model::LanguageModel::open(output.path());
    report.repaired = evaluator.run(model::WeightView(*saved));
    return fmt::format("perplexity {:.3f}", report.repaired->perplexity);
  });
}

}  // namespace

RunReport compress(const CompressPlan& asked, Sinks sinks) {
  const auto start = std::chrono::steady_clock::now();
  require_models(asked);
  validate(asked);
  const backend::Compute compute = resolve(asked.compute);
  checkpoint::OutputFolder output(asked.output, asked.overwrite, checkpoint::Staging::kLasting);
  if (asked.restart) output.start_over();
  RunReport report;
  RunInputs inputs;
  timed(report, compute.device, "open", [&] {
    inputs = open_inputs(asked, compute, sinks);
    report.digests = digest_inputs(asked);
    return std::string();
  });
  ResolvedPlan resolved = resolve_run(asked, inputs, compute, sinks);
  sparsity::PatternMap patterns = checked_patterns(asked, *inputs.opened.model);
  model::TensorFile scratch(output.work() / "weights.scratch", model::TensorFile::Lifetime::kFolder);
  Journal journal(output.work(), fingerprint(asked, compute, report.digests), scratch, report,
                  std::chrono::seconds(asked.commit_seconds));
  if (journal.has_progress())
    sinks.log.log(LogLevel::kInfo,
                  fmt::format("going on with the run that '{}' holds", output.work().string()));
  record_decisions(resolved, journal);
  report.planned = resolved.budget;
  const CompressPlan& plan = resolved.plan;
  RunContext run{.plan = plan,
                 .opened = inputs.opened,
                 .teacher = inputs.teacher(),
                 .patterns = patterns,
                 .compute = compute,
                 .windows = inputs.windows,
                 .held_out = inputs.windows.defined() ? plan.calibration.held_out : 0,
                 .scratch = scratch,
                 .dense_scratch = scratch,
                 .report = report,
                 .journal = journal,
                 .stages = resolved.stages,
                 .sinks = sinks,
                 .activations = activation_settings(plan.memory, output.work()),
                 .dense_stream = std::nullopt};
  keeping_what_is_finished(output, journal, [&] {
    output.clear();  // of what an earlier process half saved
    run_and_save(inputs, run, patterns, output);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.seconds = seconds + journal.earlier_seconds();
    const nlohmann::json json = to_json(report, plan, *inputs.opened.model, compute, resolved.stages);
    report.json = json.dump(2);
    checkpoint::write_file_atomically(output.path() / "freelunch.json", report.json + "\n");
    checkpoint::write_file_atomically(output.path() / "report.html", report_page(json));
    output.commit();
  });
  return report;
}

}  // namespace freelunch::pipeline
