#include "pipeline/compress.h"

#include <ATen/ATen.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "checkpoint/atomic_file.h"
#include "pipeline/compression.h"
#include "pipeline/evaluator.h"
#include "pipeline/export.h"
#include "pipeline/given_masks.h"
#include "pipeline/opened_model.h"
#include "pipeline/report_page.h"
#include "pipeline/run_report.h"
#include "pipeline/run_setup.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

void run_stages(Compression& run, sparsity::PatternMap& patterns, const Evaluator& evaluator) {
  RunReport& report = run.report;
  const bool given = !run.plan.dense.empty();
  choose_masks(run, patterns);
  if (evaluator.wanted()) {
    timed(report, "evaluate pruned", [&] {
      report.pruned = evaluator.run(given ? model::Weights(run.model())
                                          : model::Weights(run.model(), &run.store, model::Overlay::kPruned));
      return fmt::format("perplexity {:.3f}", report.pruned->perplexity);
    });
  }
  for (const Stage& stage : run.stages) {
    if (stage.kind != StageKind::kSolve) repair(run, stage);
  }
}

}  // namespace

RunReport compress(const CompressPlan& asked, Sinks sinks) {
  const auto start = std::chrono::steady_clock::now();
  validate(asked);
  const model::Compute compute = resolve(asked.compute);
  checkpoint::OutputFolder output(asked.output, asked.overwrite);
  RunReport report;
  RunInputs inputs;
  timed(report, "open", [&] {
    inputs = open_inputs(asked, compute, sinks);
    return std::string();
  });
  const SettledPlan settled = settle_run(asked, inputs, compute, sinks);
  report.planned = settled.budget;
  const CompressPlan& plan = settled.plan;
  const OpenedModel& opened = inputs.opened;
  const at::Tensor& windows = inputs.windows;
  const Evaluator& evaluator = *inputs.evaluator;
  sparsity::PatternMap patterns = checked_patterns(plan, *opened.model);
  {
    model::TensorFile store(output.path() / "weights.scratch");
    Compression run{.plan = plan,
                    .opened = opened,
                    .teacher = inputs.teacher(),
                    .patterns = patterns,
                    .compute = compute,
                    .windows = windows,
                    .held_out = windows.defined() ? plan.calibration.held_out : 0,
                    .store = store,
                    .dense_store = store,
                    .report = report,
                    .stages = settled.stages,
                    .sinks = sinks,
                    .activations = activation_settings(plan.memory, output.path()),
                    .dense_stream = std::nullopt};
    if (evaluator.wanted()) {
      timed(report, "evaluate dense", [&] {
        report.dense = evaluator.run(run.dense());
        return fmt::format("perplexity {:.3f}", report.dense->perplexity);
      });
    }
    run_stages(run, patterns, evaluator);
    count_zeros(run);
    timed(report, "save", [&] {
      export_model(opened, run.current(), output.path(), plan.saved_as, sinks.progress);
      return std::string();
    });
  }
  if (evaluator.wanted()) {
    // Of the folder as it was written, not of what was meant to be in it.
    timed(report, "evaluate repaired", [&] {
      const auto saved = model::LanguageModel::open(output.path());
      report.repaired = evaluator.run(model::Weights(*saved));
      return fmt::format("perplexity {:.3f}", report.repaired->perplexity);
    });
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const nlohmann::json json = to_json(report, plan, *opened.model, compute, settled.stages);
  report.json = json.dump(2);
  checkpoint::write_file_atomically(output.path() / "freelunch.json", report.json + "\n");
  checkpoint::write_file_atomically(output.path() / "report.html", report_page(json));
  output.commit();
  return report;
}

}  // namespace freelunch::pipeline
