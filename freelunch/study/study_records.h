#pragma once
#include <map>
#include <string>
#include <vector>

#include "freelunch/record/record_fields.h"

namespace freelunch::study {

/// The score of a model on one multiple-choice task: accuracy by log-likelihood, and by log-likelihood per
/// character, with standard errors (docs/methods/zero_shot.md).
struct TaskRecord {
  int64_t examples = 0;
  double acc = 0, acc_stderr = 0;
  double acc_norm = 0, acc_norm_stderr = 0;
};

/// What the texts and tasks of a study say about some weights, by their names in the study file.
struct Measurements {
  std::map<std::string, evaluate::Perplexity> figures;
  std::map<std::string, TaskRecord> tasks;
};

/// dense/ID.json: a model as it came.
struct DenseRecord {
  std::string model;  ///< file name
  Measurements measured;
};

/// cells/ID.json: a finished cell.
struct CellRecord {
  std::string id;
  std::string grid;
  nlohmann::json settings;        ///< as Cell::settings
  nlohmann::json learning_rates;  ///< by stage, those that it ran with
  Measurements measured;
  std::vector<pipeline::StageRecord> stages;
  /// By stage: held-out error after / before, mean over the regions.
  std::map<std::string, double> held_out_error;
  double sparsity = 0;    ///< fraction of zeros in the pruned matrices
  std::string freelunch;  ///< version
  std::string date;       ///< UTC, ISO 8601
  int64_t threads = 0;
  std::string compute;  ///< "fp32" or "bf16"
};

/// cells/ID.json of a cell whose run ended in a numerical error.
struct FailedCellRecord {
  std::string id;
  nlohmann::json settings;
  std::string error;
};

}  // namespace freelunch::study

namespace freelunch {

template <>
struct JsonFields<study::TaskRecord> {
  using R = study::TaskRecord;
  static constexpr auto list =
      std::tuple{json_field("examples", &R::examples), json_field("acc", &R::acc),
                 json_field("acc_stderr", &R::acc_stderr), json_field("acc_norm", &R::acc_norm),
                 json_field("acc_norm_stderr", &R::acc_norm_stderr)};
};

template <>
struct JsonFields<study::Measurements> {
  using R = study::Measurements;
  static constexpr auto list = std::tuple{json_field("figures", &R::figures), json_field("tasks", &R::tasks)};
};

template <>
struct JsonFields<study::DenseRecord> {
  using R = study::DenseRecord;
  static constexpr auto list = std::tuple{json_field("model", &R::model), json_inline(&R::measured)};
};

template <>
struct JsonFields<study::CellRecord> {
  using R = study::CellRecord;
  static constexpr auto list = std::tuple{json_field("id", &R::id),
                                          json_field("grid", &R::grid),
                                          json_field("settings", &R::settings),
                                          json_field("learning_rates", &R::learning_rates),
                                          json_inline(&R::measured),
                                          json_field("stages", &R::stages),
                                          json_field("held_out_error", &R::held_out_error),
                                          json_field("sparsity", &R::sparsity),
                                          json_field("freelunch", &R::freelunch),
                                          json_field("date", &R::date),
                                          json_field("threads", &R::threads),
                                          json_field("compute", &R::compute)};
};

template <>
struct JsonFields<study::FailedCellRecord> {
  using R = study::FailedCellRecord;
  static constexpr auto list = std::tuple{json_field("id", &R::id), json_field("settings", &R::settings),
                                          json_field("error", &R::error)};
};

}  // namespace freelunch
