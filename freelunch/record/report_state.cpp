#include "freelunch/record/report_state.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace freelunch::pipeline {
namespace {

using nlohmann::json;

/// JSON has no NaN: it is written as null.
double number(const json& value) { return value.is_null() ? std::nan("") : value.get<double>(); }

json state_of(const evaluate::Perplexity& p) {
  return json::array({p.perplexity, p.tokens, p.windows, p.length});
}
evaluate::Perplexity perplexity_of(const json& p) {
  return {.perplexity = number(p.at(0)), .tokens = p.at(1), .windows = p.at(2), .length = p.at(3)};
}

json state_of(const RegionRecord& r) {
  const reconstruct::RegionOutcome& o = r.outcome;
  return {{"stage", r.stage},
          {"region", r.region},
          {"before", o.before},
          {"after", o.after},
          {"held", o.held_out_before},
          {"held_out_after", o.held_out_after},
          {"improved", o.improved},
          {"restarts", o.restarts},
          {"seconds", r.seconds},
          {"retries", o.retries},
          {"learning_rate", o.learning_rate}};
}
RegionRecord region_of(const json& r) {
  return {.stage = r.at("stage"),
          .region = r.at("region"),
          .outcome = {.before = number(r.at("before")),
                      .after = number(r.at("after")),
                      .held_out_before = number(r.at("held")),
                      .held_out_after = number(r.at("held_out_after")),
                      .improved = r.at("improved"),
                      .restarts = r.at("restarts"),
                      .retries = r.at("retries"),
                      .learning_rate = r.at("learning_rate")},
          .seconds = number(r.at("seconds"))};
}

}  // namespace

ReportMark mark(const RunReport& report) {
  return {.stages = report.stages.size(),
          .regions = report.regions.size(),
          .tensors = report.tensors.size(),
          .allocation = !report.allocation.empty(),
          .dense = report.dense.has_value(),
          .pruned = report.pruned.has_value()};
}

json gained(const RunReport& report, const ReportMark& since) {
  json gain = json::object();
  for (size_t i = since.stages; i < report.stages.size(); ++i) {
    const StageRecord& s = report.stages[i];
    gain["stages"].push_back({{"name", s.name},
                              {"seconds", s.seconds},
                              {"peak_bytes", s.peak_bytes},
                              {"peak_device_bytes", s.peak_device_bytes},
                              {"note", s.note},
                              {"passes", s.passes},
                              {"backward_passes", s.backward_passes}});
  }
  for (size_t i = since.regions; i < report.regions.size(); ++i)
    gain["regions"].push_back(state_of(report.regions[i]));
  for (size_t i = since.tensors; i < report.tensors.size(); ++i) {
    const TensorRecord& t = report.tensors[i];
    gain["tensors"].push_back({{"name", t.name},
                               {"shape", t.shape},
                               {"expected_zeros", t.expected_zeros},
                               {"elements", t.elements},
                               {"pattern", t.pattern}});
  }
  if (!since.allocation && !report.allocation.empty()) gain["allocation"] = report.allocation;
  if (!since.dense && report.dense) gain["dense"] = state_of(*report.dense);
  if (!since.pruned && report.pruned) gain["pruned"] = state_of(*report.pruned);
  return gain;
}

void add_gained(RunReport& report, const json& gain) {
  for (const json& s : gain.value("stages", json::array())) {
    report.stages.push_back({.name = s.at("name"),
                             .seconds = number(s.at("seconds")),
                             .peak_bytes = s.at("peak_bytes"),
                             .peak_device_bytes = s.value("peak_device_bytes", int64_t{0}),
                             .note = s.at("note"),
                             .passes = number(s.at("passes")),
                             .backward_passes = number(s.at("backward_passes"))});
    report.peak_bytes = std::max(report.peak_bytes, report.stages.back().peak_bytes);
    report.peak_device_bytes = std::max(report.peak_device_bytes, report.stages.back().peak_device_bytes);
  }
  for (const json& r : gain.value("regions", json::array())) report.regions.push_back(region_of(r));
  for (const json& t : gain.value("tensors", json::array()))
    report.tensors.push_back({.name = t.at("name"),
                              .shape = t.at("shape"),
                              .zeros = 0,
                              .expected_zeros = t.at("expected_zeros"),
                              .elements = t.at("elements"),
                              .pattern = t.at("pattern")});
  for (const json& fraction : gain.value("allocation", json::array()))
    report.allocation.push_back(number(fraction));
  if (gain.contains("dense")) report.dense = perplexity_of(gain["dense"]);
  if (gain.contains("pruned")) report.pruned = perplexity_of(gain["pruned"]);
}

}  // namespace freelunch::pipeline
