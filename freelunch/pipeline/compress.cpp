#include "pipeline/compress.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "calibration/text.h"
#include "checkpoint/atomic_file.h"
#include "pipeline/compression.h"
#include "pipeline/evaluator.h"
#include "pipeline/export.h"
#include "pipeline/given_masks.h"
#include "pipeline/memory.h"
#include "pipeline/opened_model.h"
#include "pipeline/report_page.h"
#include "pipeline/run_report.h"
#include "reconstruct/distil.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

/// (samples + held_out, length) int64; undefined without a calibration text.
at::Tensor calibration_windows(const CompressPlan& plan, const OpenedModel& opened) {
  const CalibrationOptions& options = plan.calibration;
  if (options.text.empty()) return {};
  const auto documents =
      calibration::read_documents(options.text, {.one_document_a_line = options.one_document_a_line});
  RandomStream random(plan.seed, "calibration windows");
  return calibration::token_windows(documents, opened.require_tokenizer(), options.rule,
                                    options.samples + options.held_out, options.length, random);
}

/// What `auto` becomes: solve, half, and the whole model if its planned memory fits into what is free.
std::vector<Stage> chosen_stages(const CompressPlan& plan, const model::LanguageModel& model, Sinks sinks) {
  if (!plan.repair.automatic) return plan.repair.stages;
  std::vector<Stage> stages{{.kind = StageKind::kSolve}, {.kind = StageKind::kHalf}};
  const int64_t planned =
      reconstruct::planned_bytes(model, sparsity::zero_fraction(plan.pattern), {.batch = plan.whole.batch},
                                 plan.calibration.samples, plan.calibration.length);
  const int64_t available = available_bytes();
  if (available == 0 || planned <= available / 10 * 9) {
    stages.push_back({.kind = StageKind::kModel});
  } else {
    sinks.log.log(
        LogLevel::kWarning,
        fmt::format("repair auto leaves out the model stage: it plans {:.1f} GB and {:.1f} GB are free",
                    static_cast<double>(planned) * 1e-9, static_cast<double>(available) * 1e-9));
  }
  return stages;
}

/// Counts the zeros of what will be saved, in its saved dtype, against what the pattern asked for.
void verify(Compression& run) {
  RunReport& report = run.report;
  report.parameters = run.model().parameters();
  report.zeros = 0;
  for (TensorRecord& record : report.tensors) {
    const model::ModelTensor& tensor = run.model().at(record.name);
    const at::Tensor W = run.store.get(record.name);
    sparsity::check_respected(W, {run.store.get(model::mask_name(record.name))}, record.name);
    record.zeros = W.to(tensor.saved_dtype == checkpoint::DType::kF32   ? at::kFloat
                        : tensor.saved_dtype == checkpoint::DType::kF16 ? at::kHalf
                                                                        : at::kBFloat16)
                       .eq(0)
                       .sum()
                       .item<int64_t>();
    report.zeros += record.zeros;
    if (record.zeros != record.expected_zeros) {
      run.sinks.log.log(LogLevel::kWarning,
                        fmt::format("{} has {} zeros where {} were asked for: some kept weights are zero",
                                    record.name, record.zeros, record.expected_zeros));
    }
  }
}

std::vector<std::string> matrix_names(const model::LanguageModel& model) {
  std::vector<std::string> names;
  for (const model::ModelTensor& tensor : model.tensors()) {
    if (tensor.part && model::names(*tensor.part).matrix) names.push_back(tensor.name);
  }
  return names;
}

/// The patterns of the plan, checked against the model's names and widths.
sparsity::PatternMap checked_patterns(const CompressPlan& plan, const model::LanguageModel& model) {
  sparsity::PatternMap patterns(plan.pattern, plan.rules);
  const std::vector<std::string> names = matrix_names(model);
  patterns.check_used(names);
  for (const std::string& name : names) {
    const model::ModelTensor& tensor = model.at(name);
    sparsity::check_width(patterns.of(name, tensor.block), tensor.shape.at(1), name);
  }
  return patterns;
}

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

void choose_masks(Compression& run, sparsity::PatternMap& patterns) {
  RunReport& report = run.report;
  const bool given = !run.plan.dense.empty();
  const bool solves = !run.stages.empty() && run.stages.front().kind == StageKind::kSolve;
  if (given) {
    timed(report, "read masks", [&] { return take_given_masks(run); });
  } else if (run.plan.allocation == sparsity::Allocation::kOwl) {
    timed(report, "allocate", [&] {
      patterns.allocate(owl_allocation(run));
      return std::string("owl");
    });
  }
  if (run.plan.sensitivity && solves) {
    timed(report, "sensitivity", [&] {
      measure_sensitivity(run);
      return std::string();
    });
  }
  if (given && !solves) return;
  timed(report, solves ? "solve" : "prune", [&] {
    prune(run, given ? MaskSource::kGiven : MaskSource::kCriterion, solves);
    return given ? std::string() : run.plan.criterion + " " + sparsity::to_string(run.plan.pattern);
  });
}

void repair(Compression& run, const Stage& stage) {
  timed(run.report, to_string(stage), [&] {
    if (is_global(stage)) {
      repair_model(run, stage);
    } else if (stage.kind == StageKind::kMatrix) {
      repair_matrices(run, stage);
    } else {
      repair_regions(run, stage);
    }
    return std::string();
  });
}

RunReport compress(const CompressPlan& plan, Sinks sinks) {
  const auto start = std::chrono::steady_clock::now();
  validate(plan);
  const model::Compute compute = resolve(plan.compute);
  checkpoint::OutputFolder output(plan.output, plan.overwrite);
  RunReport report;
  OpenedModel opened;
  std::unique_ptr<model::LanguageModel> dense;
  at::Tensor windows;
  std::optional<Evaluator> evaluator;
  timed(report, "open", [&] {
    opened = open_model(plan.model, plan.calibration.text.empty() && plan.evaluation.text.empty()
                                        ? TokenizerUse::kNone
                                        : TokenizerUse::kRequired);
    if (!plan.dense.empty()) dense = model::LanguageModel::open(plan.dense);
    windows = calibration_windows(plan, opened);
    evaluator.emplace(plan.evaluation, opened, compute, sinks.progress);
    return std::string();
  });
  const std::vector<Stage> stages = chosen_stages(plan, *opened.model, sinks);
  const model::LanguageModel& teacher = dense ? *dense : *opened.model;
  if (dense) check_same_model(*opened.model, teacher, plan, stages);
  sparsity::PatternMap patterns = checked_patterns(plan, *opened.model);
  {
    model::TensorFile store(output.path() / "weights.scratch");
    Compression run{.plan = plan,
                    .opened = opened,
                    .teacher = teacher,
                    .patterns = patterns,
                    .compute = compute,
                    .windows = windows,
                    .held_out = windows.defined() ? plan.calibration.held_out : 0,
                    .store = store,
                    .report = report,
                    .stages = stages,
                    .sinks = sinks,
                    .dense_stream = {}};
    if (evaluator->wanted()) {
      timed(report, "evaluate dense", [&] {
        report.dense = evaluator->run(run.dense());
        return fmt::format("perplexity {:.3f}", report.dense->perplexity);
      });
    }
    run_stages(run, patterns, *evaluator);
    verify(run);
    timed(report, "save", [&] {
      export_hugging_face(opened, run.current(), output.path(), sinks.progress);
      return std::string();
    });
  }
  if (evaluator->wanted()) {
    // Of the folder as it was written, not of what was meant to be in it.
    timed(report, "evaluate repaired", [&] {
      const auto saved = model::LanguageModel::open(output.path());
      report.repaired = evaluator->run(model::Weights(*saved));
      return fmt::format("perplexity {:.3f}", report.repaired->perplexity);
    });
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const nlohmann::json json = to_json(report, plan, *opened.model, compute, stages);
  report.json = json.dump(2);
  checkpoint::write_file_atomically(output.path() / "freelunch.json", report.json + "\n");
  checkpoint::write_file_atomically(output.path() / "report.html", report_page(json));
  output.commit();
  return report;
}

}  // namespace freelunch::pipeline
