#pragma once
#include "pipeline/compression.h"

namespace freelunch::pipeline {

/// (samples + held_out, length) int64; undefined without a calibration text.
at::Tensor calibration_windows(const CompressPlan& plan, const OpenedModel& opened);

/// What `auto` becomes: solve, half, and the whole model if its planned memory fits into what is free.
std::vector<Stage> chosen_stages(const CompressPlan& plan, const model::LanguageModel& model, Sinks sinks);

/// The patterns of the plan, checked against the model's names and widths.
sparsity::PatternMap checked_patterns(const CompressPlan& plan, const model::LanguageModel& model);

/// Counts the zeros of what will be saved, in its saved dtype, against what the pattern asked for. Throws
/// Numerical if a weight that its mask removes is not zero.
void count_zeros(Compression& run);

}  // namespace freelunch::pipeline
