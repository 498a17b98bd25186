#pragma once
#include <filesystem>

#include "freelunch/pipeline/run_context.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// Structured pruning (docs/methods/structured.md): walks the dense model sublayer by sublayer, chooses the
/// units that the smaller shape keeps on the inputs of our stream, refits what reads them if `refits`, and
/// writes the smaller model, an ordinary dense Hugging Face folder, to `folder`. run.opened is the dense
/// model; `smaller` is its configuration after the cut (model::shrunk), `blocks` are those of its blocks that
/// stay. With a refit, down before a removed block is fitted to make up for it. A sublayer that is finished
/// is committed to the journal.
void cut_model(RunContext& run, const model::Config& smaller, const std::vector<int64_t>& blocks, bool refits,
               const std::filesystem::path& folder);

/// The budget of the stage `name`, cut_model() for the shape `smaller` of the cost model's dense one.
StageBudget cut_budget(const CostModel& dense, const model::Config& smaller, bool refits,
                       const std::string& name);

/// Removes from the scratch file what cut_model() put there, so that another shape can be cut.
void forget_cut(RunContext& run);

}  // namespace freelunch::pipeline
