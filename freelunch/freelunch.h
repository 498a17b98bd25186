#pragma once
#include "freelunch/base/error.h"
#include "freelunch/base/interrupt.h"
#include "freelunch/base/sinks.h"
#include "freelunch/base/version.h"
#include "freelunch/criteria/criterion.h"
#include "freelunch/model_io/conversion.h"
#include "freelunch/model_io/inspection.h"
#include "freelunch/model_io/opened_model.h"
#include "freelunch/pipeline/compress.h"
#include "freelunch/pipeline/measure.h"
#include "freelunch/pipeline/planned_run.h"

/// The library in one header: what the commands of `freelunch` do, as functions. Each function reports its
/// errors as freelunch::Error with a one-line message (and std::bad_alloc if memory runs out), and none
/// prints. Progress and log lines go to the Sinks; silent_sinks() drops them. request_interrupt() stops a
/// running function at its next batch.
///
/// The number of threads (ComputeOptions::threads) and the interrupt flag belong to the process, so call one
/// function at a time. docs/library.md shows how to link the library; examples/ has three programs.
namespace freelunch {

/// Opens a Hugging Face folder or a .gguf file: its configuration, its tensors (read when they are asked for)
/// and, if asked for, its tokenizer.
using pipeline::open_model;
using pipeline::OpenedModel;
using pipeline::TokenizerUse;

/// JSON about a model: architecture, sizes, and the dtype, shape and sparsity of every tensor.
using pipeline::inspect;

/// Writes a model in another format: Hugging Face folder, GGUF file or sparse archive.
using pipeline::convert;
using pipeline::Format;
using pipeline::OutputOptions;

/// What to prune, how to repair it and where to write it. The members' defaults are the command's.
using pipeline::CompressPlan;
/// The stages of a repair: "none", "auto", or a list such as "solve,sublayer", for CompressPlan::repair.
using pipeline::parse_repair;
/// What a run measured: stages, perplexities, zeros, seconds, and the text of freelunch.json.
using pipeline::RunReport;
/// Prunes a dense model, repairs it and writes it with its report. `plan.dense` stays empty.
using pipeline::compress;

/// Repairs a model that any tool pruned. plan.model is the pruned model, whose zeros stay zeros; plan.dense
/// is the model that it was pruned from.
inline RunReport reconstruct_model(const CompressPlan& plan, Sinks sinks) {
  if (plan.dense.empty())
    fail(ErrorKind::kInvalidArgument, "reconstruct_model: the plan names no dense model to repair towards");
  return compress(plan, sinks);
}

/// JSON about what compress(plan) would do: stages, memory, seconds. Writes nothing.
using pipeline::planned_run;

/// Perplexity of a model on a text.
using pipeline::PerplexityPlan;
inline evaluate::Perplexity perplexity(const PerplexityPlan& plan, Sinks sinks) {
  return pipeline::measure_perplexity(plan, sinks);
}

/// Accuracy of a model on multiple-choice tasks, without examples in the prompt.
using pipeline::ZeroShotPlan;
using pipeline::ZeroShotResult;
inline std::vector<ZeroShotResult> zero_shot(const ZeroShotPlan& plan, Sinks sinks) {
  return pipeline::measure_zero_shot(plan, sinks);
}

/// A pruning criterion of your own: fill a Criterion, add it, and name it in CompressPlan::criterion.
using criteria::add_criterion;
using criteria::CalibrationStats;
using criteria::Criterion;

}  // namespace freelunch
