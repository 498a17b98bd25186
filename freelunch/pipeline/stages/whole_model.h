#pragma once
#include "freelunch/pipeline/run_context.h"
#include "freelunch/planner/cost_model.h"

namespace freelunch::pipeline {

/// Gradient descent through the whole model, on what the stage trains.
void repair_model(RunContext& run, const Stage& stage);
StageBudget whole_model_budget(const CostModel& cost, const Stage& stage);
/// Whether the autograd graphs of all blocks fit into half of the memory that weights and optimiser take. If
/// so they are kept; otherwise each block's forward pass is computed again on the way back.
bool keeps_all_graphs(const model::Config& config, const CompressPlan& plan, const Stage& stage);

/// Writes the dense model's final hidden states to the dense scratch file, from `run.dense_stream` or by a
/// pass of their own. Does nothing if no whole-model stage needs them or they are there.
void save_dense_hidden(RunContext& run);

}  // namespace freelunch::pipeline
