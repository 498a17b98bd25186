#pragma once
#include "freelunch/base/json_fields.h"
#include "freelunch/descent/distil.h"
#include "freelunch/evaluate/perplexity.h"
#include "freelunch/plan/fingerprint.h"
#include "freelunch/record/records.h"

/// The JSON of everything that a run records: one list a struct, for freelunch.json, the journal and the
/// cells of a study. docs/formats/report.md describes the keys.
namespace freelunch {

template <>
struct JsonFields<pipeline::PassCounts> {
  using R = pipeline::PassCounts;
  static constexpr auto list =
      std::tuple{json_field("forward", &R::forward), json_field("backward", &R::backward)};
};

template <>
struct JsonFields<pipeline::StageRecord> {
  using R = pipeline::StageRecord;
  static constexpr auto list =
      std::tuple{json_field("name", &R::name),
                 json_field("seconds", &R::seconds),
                 json_field("peak_bytes", &R::peak_bytes),
                 json_field("peak_device_bytes", &R::peak_device_bytes, JsonPresence::kUnlessDefault),
                 json_field("note", &R::note, JsonPresence::kUnlessDefault),
                 json_field("passes", &R::passes, JsonPresence::kUnlessDefault),
                 json_field("divergence_before", &R::divergence_before),
                 json_field("divergence", &R::divergence),
                 json_field("undone", &R::undone, JsonPresence::kUnlessDefault)};
};

template <>
struct JsonFields<reconstruct::RegionOutcome> {
  using R = reconstruct::RegionOutcome;
  static constexpr auto list =
      std::tuple{json_field("before", &R::before),
                 json_field("after", &R::after),
                 json_field("held_out_before", &R::held_out_before),
                 json_field("held_out_after", &R::held_out_after),
                 json_field("improved", &R::improved),
                 json_field("restarts", &R::restarts),
                 json_field("retries", &R::retries),
                 json_field("learning_rate", &R::learning_rate, JsonPresence::kUnlessDefault)};
};

template <>
struct JsonFields<pipeline::RegionRecord> {
  using R = pipeline::RegionRecord;
  static constexpr auto list = std::tuple{json_field("stage", &R::stage), json_field("region", &R::region),
                                          json_inline(&R::outcome), json_field("seconds", &R::seconds)};
};

template <>
struct JsonFields<pipeline::TensorRecord> {
  using R = pipeline::TensorRecord;
  static constexpr auto list =
      std::tuple{json_field("name", &R::name),         json_field("shape", &R::shape),
                 json_field("zeros", &R::zeros),       json_field("expected_zeros", &R::expected_zeros),
                 json_field("elements", &R::elements), json_field("pattern", &R::pattern),
                 json_field("tokens", &R::tokens)};
};

template <>
struct JsonFields<evaluate::Perplexity> {
  using R = evaluate::Perplexity;
  static constexpr auto list =
      std::tuple{json_field("perplexity", &R::perplexity), json_field("tokens", &R::tokens),
                 json_field("windows", &R::windows), json_field("length", &R::length)};
};

template <>
struct JsonFields<pipeline::InputDigests> {
  using R = pipeline::InputDigests;
  static constexpr auto list =
      std::tuple{json_field("model", &R::model), json_field("dense", &R::dense, JsonPresence::kUnlessDefault),
                 json_field("calibration", &R::calibration, JsonPresence::kUnlessDefault),
                 json_field("evaluation", &R::evaluation, JsonPresence::kUnlessDefault)};
};

template <>
struct JsonFields<reconstruct::DistilPosition> {
  using R = reconstruct::DistilPosition;
  static constexpr auto list =
      std::tuple{json_field("step", &R::step),         json_field("learning_rate", &R::learning_rate),
                 json_field("restarts", &R::restarts), json_field("before", &R::before),
                 json_field("after", &R::after),       json_field("improved", &R::improved)};
};

}  // namespace freelunch
