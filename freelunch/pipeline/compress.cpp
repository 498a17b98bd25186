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
#include "pipeline/export.h"
#include "pipeline/memory.h"
#include "pipeline/opened_model.h"
#include "pipeline/report_page.h"
#include "pipeline/run_report.h"
#include "reconstruct/distil.h"

namespace freelunch::pipeline {
namespace {

namespace fs = std::filesystem;

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
std::vector<StageKind> chosen_stages(const CompressPlan& plan, const model::LanguageModel& model,
                                     Sinks sinks) {
  if (!plan.repair.automatic) return plan.repair.stages;
  std::vector<StageKind> stages{StageKind::kSolve, StageKind::kHalf};
  const int64_t planned =
      reconstruct::planned_bytes(model, sparsity::zero_fraction(plan.pattern), {.batch = plan.whole.batch},
                                 plan.calibration.samples, plan.calibration.length);
  const int64_t available = available_bytes();
  if (available == 0 || planned <= available / 10 * 9) {
    stages.push_back(StageKind::kModel);
  } else {
    sinks.log.log(
        LogLevel::kWarning,
        fmt::format("repair auto leaves out the model stage: it plans {:.1f} GB and {:.1f} GB are free",
                    static_cast<double>(planned) * 1e-9, static_cast<double>(available) * 1e-9));
  }
  return stages;
}

class Evaluator {
 public:
  Evaluator(const CompressPlan& plan, const OpenedModel& opened, const model::Compute& compute,
            ProgressSink& progress)
      : compute_(compute), progress_(progress) {
    if (plan.evaluation.text.empty()) return;
    for (const std::string& document : calibration::read_documents(plan.evaluation.text)) {
      const auto ids = opened.require_tokenizer().encode(document, tokens_.empty());
      tokens_.insert(tokens_.end(), ids.begin(), ids.end());
    }
    settings_.length =
        plan.evaluation.length.value_or(std::min<int64_t>(opened.model->config().max_length, 2048));
    settings_.windows = plan.evaluation.windows;
    if (static_cast<int64_t>(tokens_.size()) < settings_.length) {
      fail(ErrorKind::kInvalidArgument,
           "the evaluation text has {} tokens, fewer than one window of {}; pass --evaluate-length",
           tokens_.size(), settings_.length);
    }
  }

  bool wanted() const { return !tokens_.empty(); }
  evaluate::Perplexity run(const model::Weights& weights) const {
    return evaluate::perplexity(weights, tokens_, settings_, compute_, progress_);
  }

 private:
  model::Compute compute_;
  ProgressSink& progress_;
  std::vector<int64_t> tokens_;
  evaluate::PerplexitySettings settings_;
};

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

void run_stages(Compression& run, const std::vector<StageKind>& stages, const Evaluator& evaluator) {
  RunReport& report = run.report;
  const bool solves = !stages.empty() && stages.front() == StageKind::kSolve;
  timed(report, solves ? "solve" : "prune", [&] {
    prune(run, solves);
    return run.plan.criterion + " " + sparsity::to_string(run.plan.pattern);
  });
  if (evaluator.wanted()) {
    timed(report, "evaluate pruned", [&] {
      report.pruned = evaluator.run(model::Weights(run.model(), &run.store, model::Overlay::kMasksOnly));
      return fmt::format("perplexity {:.3f}", report.pruned->perplexity);
    });
  }
  for (const StageKind stage : stages) {
    if (stage == StageKind::kSolve) continue;
    timed(report, std::string(name(stage)), [&] {
      if (stage == StageKind::kModel) {
        repair_model(run);
      } else {
        repair_regions(run, stage);
      }
      return std::string();
    });
  }
}

}  // namespace

RunReport compress(const CompressPlan& plan, Sinks sinks) {
  const auto start = std::chrono::steady_clock::now();
  validate(plan);
  const model::Compute compute = resolve(plan.compute);
  checkpoint::OutputFolder output(plan.output, plan.overwrite);
  RunReport report;
  OpenedModel opened;
  at::Tensor windows;
  std::optional<Evaluator> evaluator;
  timed(report, "open", [&] {
    opened = open_model(plan.model, plan.calibration.text.empty() && plan.evaluation.text.empty()
                                        ? TokenizerUse::kNone
                                        : TokenizerUse::kRequired);
    windows = calibration_windows(plan, opened);
    evaluator.emplace(plan, opened, compute, sinks.progress);
    return std::string();
  });
  const std::vector<StageKind> stages = chosen_stages(plan, *opened.model, sinks);
  for (const model::ModelTensor& tensor : opened.model->tensors()) {
    if (tensor.part && model::names(*tensor.part).matrix)
      sparsity::check_width(plan.pattern, tensor.shape.at(1), tensor.name);
  }
  {
    model::TensorFile store(output.path() / "weights.scratch");
    Compression run{.plan = plan,
                    .opened = opened,
                    .compute = compute,
                    .windows = windows,
                    .held_out = windows.defined() ? plan.calibration.held_out : 0,
                    .store = store,
                    .report = report,
                    .sinks = sinks};
    if (evaluator->wanted()) {
      timed(report, "evaluate dense", [&] {
        report.dense = evaluator->run(run.dense());
        return fmt::format("perplexity {:.3f}", report.dense->perplexity);
      });
    }
    run_stages(run, stages, *evaluator);
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
