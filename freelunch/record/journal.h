#pragma once
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "freelunch/checkpoint/files/journal_file.h"
#include "freelunch/record/report_state.h"
#include "freelunch/storage/tensor_file.h"

namespace freelunch::pipeline {

/// What of a run is finished. It stands in the run's staging folder, so that the same command goes on where a
/// process died (docs/methods/resume.md).
///
/// A commit makes what the store and the report have gained since the last one final: first the tensors are
/// on the disk, then a line of journal.jsonl says where and with which digests. Whatever was not committed
/// never happened. On opening, the lines are followed as far as tensors still have their digests, and the
/// store and the report are put back to there.
class Journal {
 public:
  /// Remembers nothing: everything is to do, and commits go nowhere.
  Journal() = default;
  /// Opens or starts the journal in `folder`. Throws InvalidArgument if it is of a run with another
  /// fingerprint, naming the first difference, and BadFile if it cannot be read as a journal.
  Journal(const std::filesystem::path& folder, const nlohmann::json& fingerprint, model::TensorFile& scratch,
          RunReport& report, std::chrono::seconds interval);

  /// Whether a later process would find anything here to go on from.
  bool has_progress() const { return progress_; }
  /// Seconds that earlier processes spent on what they finished.
  double earlier_seconds() const { return run_earlier_; }
  /// A choice that a later process must not make differently, such as by the memory that is free: what was
  /// chosen first.
  nlohmann::json choice(const std::string& name, const std::function<nlohmann::json()>& choose);

  /// Whether the stage was finished before.
  bool finished(const std::string& stage) const { return finished_.contains(stage); }
  /// done(), position() and commits are of this stage from now on.
  void begin(const std::string& stage);
  /// The stage is finished; its StageRecord is the report's last, and gets the seconds of earlier processes.
  void end();

  /// Whether a region of the stage was finished before.
  bool done(const std::string& region) const;
  /// A region of the stage is finished.
  void commit(const std::string& region);

  /// Inside a region that takes long: whether it is time for commit_position(), by the clock or because the
  /// user asked to stop.
  bool due() const;
  /// Where to go on, with what the stage has put into the store for that.
  void commit_position(const nlohmann::json& position);
  /// Where an earlier process left the stage's unfinished region.
  std::optional<nlohmann::json> position() const;

 private:
  void replay(const std::vector<nlohmann::json>& records);
  void append(nlohmann::json record);

  std::unique_ptr<checkpoint::JournalFile> file_;
  model::TensorFile* scratch_ = nullptr;
  RunReport* report_ = nullptr;
  std::chrono::seconds interval_{0};
  using Clock = std::chrono::steady_clock;
  Clock::time_point run_start_ = Clock::now(), stage_start_ = run_start_, last_commit_ = run_start_;
  double run_earlier_ = 0, stage_earlier_ = 0;
  std::string stage_;
  std::set<std::string> finished_;
  std::set<std::pair<std::string, std::string>> done_;
  std::map<std::string, nlohmann::json> positions_, choices_;
  std::map<std::string, double> stage_seconds_;
  ReportMark recorded_;  ///< how much of the report is in the journal
  bool progress_ = false;
};

}  // namespace freelunch::pipeline
