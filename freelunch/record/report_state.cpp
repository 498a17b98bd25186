#include "freelunch/record/report_state.h"

#include <algorithm>
#include <iterator>

#include "freelunch/record/record_fields.h"

namespace freelunch::pipeline {
namespace {

/// The part of a RunReport that stages add to, and that outlives a process.
struct Additions {
  std::vector<StageRecord> stages;
  std::vector<RegionRecord> regions;
  std::vector<TensorRecord> tensors;
  std::vector<double> allocation;
  std::optional<evaluate::Perplexity> dense, pruned;
};

template <class T>
std::vector<T> since(const std::vector<T>& all, size_t count) {
  return {all.begin() + static_cast<std::ptrdiff_t>(count), all.end()};
}

template <class T>
void move_to_end(std::vector<T>& more, std::vector<T>& all) {
  std::move(more.begin(), more.end(), std::back_inserter(all));
}

}  // namespace
}  // namespace freelunch::pipeline

template <>
struct freelunch::JsonFields<freelunch::pipeline::Additions> {
  using R = pipeline::Additions;
  static constexpr auto list =
      std::tuple{json_field("stages", &R::stages, JsonPresence::kUnlessDefault),
                 json_field("regions", &R::regions, JsonPresence::kUnlessDefault),
                 json_field("tensors", &R::tensors, JsonPresence::kUnlessDefault),
                 json_field("allocation", &R::allocation, JsonPresence::kUnlessDefault),
                 json_field("dense", &R::dense),
                 json_field("pruned", &R::pruned)};
};

namespace freelunch::pipeline {

using nlohmann::json;

ReportMark mark(const RunReport& report) {
  return {.stages = report.stages.size(),
          .regions = report.regions.size(),
          .tensors = report.tensors.size(),
          .allocation = !report.allocation.empty(),
          .dense = report.dense.has_value(),
          .pruned = report.pruned.has_value()};
}

json additions(const RunReport& report, const ReportMark& mark) {
  // All members by name, so that a new one does not compile until it is decided whether it belongs to
  // Additions. The others are known, or measured, in the process that ends the run.
  const auto& [stages, regions, tensors, allocation, dense, pruned, repaired, parameters, dense_parameters,
               zeros, peak_bytes, peak_device_bytes, seconds, planned, digests, text] = report;
  return Additions{.stages = since(stages, mark.stages),
                   .regions = since(regions, mark.regions),
                   .tensors = since(tensors, mark.tensors),
                   .allocation = mark.allocation ? std::vector<double>() : allocation,
                   .dense = mark.dense ? std::nullopt : dense,
                   .pruned = mark.pruned ? std::nullopt : pruned};
}

void append(RunReport& report, const json& additions) {
  auto more = additions.get<Additions>();
  for (const StageRecord& stage : more.stages) {
    report.peak_bytes = std::max(report.peak_bytes, stage.peak_bytes);
    report.peak_device_bytes = std::max(report.peak_device_bytes, stage.peak_device_bytes);
  }
  move_to_end(more.stages, report.stages);
  move_to_end(more.regions, report.regions);
  move_to_end(more.tensors, report.tensors);
  move_to_end(more.allocation, report.allocation);
  if (more.dense) report.dense = more.dense;
  if (more.pruned) report.pruned = more.pruned;
}

}  // namespace freelunch::pipeline
