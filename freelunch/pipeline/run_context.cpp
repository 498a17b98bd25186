#include "freelunch/pipeline/run_context.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "freelunch/backend/backend.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/memory/process_memory.h"
#include "freelunch/model/passes.h"
#include "freelunch/pipeline/given_masks.h"
#include "freelunch/storage/transfer.h"

namespace freelunch::pipeline {
namespace {

/// How often a region that diverges may start over.
int64_t restarts(const CompressPlan& plan) { return plan.on_divergence == OnDivergence::kRestart ? 2 : 0; }

/// How often a region that got no better may start over: where its rate is a rule's, not the user's.
int64_t retries(const CompressPlan& plan) { return plan.region.learning_rate ? 0 : 2; }

void warn_of_descents(const RunContext& run, const std::string& stage) {
  int64_t regions = 0;
  int64_t unchanged = 0;
  double lowest = std::numeric_limits<double>::infinity();
  for (const RegionRecord& region : run.report.regions) {
    const reconstruct::RegionOutcome& outcome = region.outcome;
    if (region.stage != stage) continue;
    ++regions;
    if (!outcome.improved) ++unchanged;
    lowest = std::min(lowest, outcome.learning_rate);
    if (outcome.restarts == 0) continue;
    run.sinks.log.log(LogLevel::kWarning,
                      fmt::format("{}, {}: diverged, so its learning rate was halved {} time(s)", stage,
                                  region.region, outcome.restarts));
  }
  if (unchanged * 2 <= regions) return;
  run.sinks.log.log(
      LogLevel::kWarning,
      fmt::format("{}: {} of {} regions got no better on held-out windows and stay as they were; more "
                  "calibration windows may help, or a learning rate below {:.1g}",
                  stage, unchanged, regions, lowest));
}

/// Where the last two regions of that kind that training helped both needed a lower rate, the higher of the
/// two: the next one starts there.
double starting_rate(const RunReport& report, const std::string& stage, std::string_view kind, double rate) {
  int64_t seen = 0;
  double needed = 0;
  for (auto r = report.regions.rbegin(); r != report.regions.rend() && seen < 2; ++r) {
    if (r->stage != stage || !r->region.ends_with(kind) || !r->outcome.improved) continue;
    needed = std::max(needed, r->outcome.learning_rate);
    ++seen;
  }
  return seen == 2 ? std::min(rate, needed) : rate;
}

}  // namespace

reconstruct::BlockMasks RunContext::masks(int64_t block) const {
  reconstruct::BlockMasks masks;
  for (const model::ModelTensor* tensor : model().block_tensors(block)) {
    if (!model::is_prunable(*tensor->role)) continue;
    masks[*tensor->role] = {model::to_device(scratch.get(model::mask_name(tensor->name)), compute.device)};
  }
  return masks;
}

model::ActivationStore RunContext::empty_stream(int64_t windows_wanted) const {
  return {activations, {windows_wanted, windows.size(1), model().config().width}, at::kFloat, compute.device};
}

model::ActivationStore RunContext::embed(const model::WeightView& weights) const {
  model::ActivationStore stream = empty_stream(windows.size(0));
  for_each_batch(windows.size(0), held_out, [&](int64_t i, int64_t n, bool) {
    stream.write(i, weights.embed(windows.narrow(0, i, n), compute.device));
  });
  return stream;
}

void RunContext::save_to_scratch(int64_t block, const model::Block& tensors, model::Sublayer sublayer) {
  for (const auto& [role, tensor] : tensors.tensors()) {
    if (model::sublayer_of(role) == sublayer) scratch.put(model().find(block, role)->name, tensor);
  }
}

void for_each_batch(int64_t windows, int64_t held_out,
                    const std::function<void(int64_t, int64_t, bool)>& visit) {
  constexpr int64_t kBatch = 4;
  const int64_t trained = windows - held_out;
  for (int64_t i = 0; i < windows;) {
    throw_if_interrupted();
    const int64_t end = std::min(i + kBatch, i < trained ? trained : windows);
    visit(i, end - i, i >= trained);
    i = end;
  }
}

reconstruct::DescentRecipe descent_recipe(const RunContext& run, const Stage& stage, std::string_view kind) {
  const RegionOptions& options = run.plan.region;
  const double rate = learning_rate(run.plan, stage, run.model().config().width);
  return {
      .loss = options.loss,
      .adam = {.learning_rate =
                   retries(run.plan) > 0 ? starting_rate(run.report, to_string(stage), kind, rate) : rate},
      .epochs = options.epochs.value_or(default_epochs(run.stages)),
      .batch = options.batch,
      .freeze_norms = options.freeze_norms,
      .restarts = restarts(run.plan),
      .retries = retries(run.plan)};
}

reconstruct::DistilRecipe distil_recipe(const RunContext& run, const Stage& stage) {
  const ModelStageOptions& options = run.plan.model_stage;
  return {.loss = options.loss,
          .adam = {.learning_rate = learning_rate(run.plan, stage, run.model().config().width)},
          .epochs = options.epochs.value_or(default_epochs(run.stages)),
          .batch = options.batch,
          .restarts = restarts(run.plan),
          .trainable = {.trains = trained_by(stage), .lora = options.lora, .seed = run.plan.seed}};
}

std::string sensitivity_name(const std::string& tensor) { return tensor + "#sensitivity"; }

void timed(RunReport& report, at::Device device, const std::string& name,
           const std::function<std::string()>& stage) {
  release_freed_memory();
  reset_peak_resident();
  backend::of(device).reset_peak_bytes();
  const auto start = std::chrono::steady_clock::now();
  const std::string note = stage();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const int64_t peak = peak_resident_bytes();
  const int64_t on_device = backend::of(device).peak_bytes();
  report.peak_bytes = std::max(report.peak_bytes, peak);
  report.peak_device_bytes = std::max(report.peak_device_bytes, on_device);
  report.stages.push_back(
      {.name = name, .seconds = seconds, .peak_bytes = peak, .peak_device_bytes = on_device, .note = note});
}

void run_stage(RunContext& run, const std::string& name, const std::function<std::string()>& stage) {
  if (run.journal.finished(name)) return;
  run.journal.begin(name);
  const model::Passes before = model::passes_so_far();
  timed(run.report, run.compute.device, name, stage);
  const model::Passes after = model::passes_so_far();
  if (run.windows.defined() && run.windows.numel() > 0) {
    const auto all = static_cast<double>(run.windows.numel() * 2 * run.model().config().blocks);
    StageRecord& record = run.report.stages.back();
    record.passes = static_cast<double>(after.forward - before.forward) / all;
    record.backward_passes = static_cast<double>(after.recorded - before.recorded) / all;
  }
  run.journal.end();
}

void choose_masks(RunContext& run, sparsity::PatternMap& patterns) {
  const bool given = !run.plan.dense.empty();
  const bool solves = !run.stages.empty() && run.stages.front().kind == StageKind::kSolve;
  if (given) {
    run_stage(run, "read masks", [&] { return take_given_masks(run); });
  } else if (run.plan.allocation == sparsity::Allocation::kOwl) {
    run_stage(run, "allocate", [&] {
      run.report.allocation = owl_allocation(run);
      return std::string("owl");
    });
    patterns.allocate(run.report.allocation);
  }
  if (run.plan.sensitivity && solves) {
    run_stage(run, "sensitivity", [&] {
      measure_sensitivity(run);
      return std::string();
    });
  }
  if (given && !solves) return;
  run_stage(run, solves ? "solve" : "prune", [&] {
    prune(run, given ? MaskSource::kGiven : MaskSource::kCriterion, solves);
    return given ? std::string() : run.plan.criterion + " " + sparsity::to_string(run.plan.pattern);
  });
}

void repair(RunContext& run, const Stage& stage) {
  run_stage(run, to_string(stage), [&] {
    if (is_global(stage)) {
      repair_model(run, stage);
    } else {
      if (stage.kind == StageKind::kMatrix)
        repair_matrices(run, stage);
      else
        repair_regions(run, stage);
      // A later process has no stream left to take them from, and another way to them could give other bytes.
      save_dense_hidden(run);
    }
    warn_of_descents(run, to_string(stage));
    return std::string();
  });
  // The dense model's stream is for the stage that distils from it, not for whatever comes in between.
  const auto next = std::find(run.stages.begin(), run.stages.end(), stage) + 1;
  if (next == run.stages.end() || !is_global(*next)) run.dense_stream.reset();
}

}  // namespace freelunch::pipeline
